"""The published files of SeedVR2. Torch-free.

Sources: ByteDance-Seed's repositories on the Hugging Face hub, and the conversions to half and
quarter precision of github.com/numz/ComfyUI-SeedVR2_VideoUpscaler (branch main, model registry).
In those of fp8 every tensor is a plain cast, without scales. The conversions of the 3B are of the
master before June 2025, so that they differ from the official file in value.
"""

from models.checkpoint.manifest import File, Licence, Manifest, Part, Variant

APACHE = Licence(name="Apache-2.0", url="https://www.apache.org/licenses/LICENSE-2.0", free=True)

OFFICIAL_3B = "ByteDance-Seed/SeedVR2-3B"
OFFICIAL_7B = "ByteDance-Seed/SeedVR2-7B"
CONVERSIONS = "numz/SeedVR2_comfyUI"
MIXED = "AInVFX/SeedVR2_comfyUI"

PINNED = "pinned by public projects that convert the file; not stated by the publisher"
REGISTRY = "the model registry of github.com/numz/ComfyUI-SeedVR2_VideoUpscaler"


def _official(name: str, repository: str, sha256: str, size_bytes: int | None) -> File:
    return File(
        name=name,
        repository=repository,
        licence=APACHE,
        sha256=sha256,
        sha256_source=PINNED,
        size_bytes=size_bytes,
    )


def _converted(name: str, sha256: str | None, size_bytes: int | None = None) -> File:
    repository = MIXED if "mixed" in name else CONVERSIONS
    return File(
        name=name,
        repository=repository,
        licence=APACHE,
        sha256=sha256,
        sha256_source=REGISTRY if sha256 else None,
        size_bytes=size_bytes,
    )


def _vae(repository: str) -> Part:
    return Part(
        name="vae",
        files=(
            _official(
                "ema_vae.pth",
                repository,
                "c7df8a67e68b7f9aca3d5d2153d2ce8ab4373687741a0f9ce87cb356ace51cac",
                1_002_691_902,
            ),
            _converted(
                "ema_vae_fp16.safetensors",
                "20678548f420d98d26f11442d3528f8b8c94e57ee046ef93dbb7633da8612ca1",
                501_324_814,
            ),
        ),
    )


MANIFEST = Manifest(
    name="seedvr",
    variants=(
        Variant(
            name="3b",
            parts=(
                Part(
                    name="dit",
                    files=(
                        _official(
                            "seedvr2_ema_3b.pth",
                            OFFICIAL_3B,
                            "6bcc5ac59447e97b100477480aebb01be2ec724c8340bb83faae21f64848604b",
                            None,
                        ),
                        _converted(
                            "seedvr2_ema_3b_fp16.safetensors",
                            "2fd0e03a3dad24e07086750360727ca437de4ecd456f769856e960ae93e2b304",
                        ),
                        _converted(
                            "seedvr2_ema_3b_fp8_e4m3fn.safetensors",
                            "3bf1e43ebedd570e7e7a0b1b60d6a02e105978f505c8128a241cde99a8240cff",
                        ),
                    ),
                ),
                _vae(OFFICIAL_3B),
            ),
        ),
        Variant(
            name="7b",
            parts=(
                Part(
                    name="dit",
                    files=(
                        _official(
                            "seedvr2_ema_7b.pth",
                            OFFICIAL_7B,
                            "e1b2ae25505607e61f2a7dc7967ba778aaf3e3626d9969ce6e24c52d9ddebfcd",
                            32_958_774_606,
                        ),
                        _converted(
                            "seedvr2_ema_7b_fp16.safetensors",
                            "7b8241aa957606ab6cfb66edabc96d43234f9819c5392b44d2492d9f0b0bbe4a",
                            16_479_334_424,
                        ),
                        _converted(
                            "seedvr2_ema_7b_fp8_e4m3fn_mixed_block35_fp16.safetensors", None
                        ),
                    ),
                ),
                _vae(OFFICIAL_7B),
            ),
        ),
        Variant(
            name="7b_sharp",
            parts=(
                Part(
                    name="dit",
                    files=(
                        _official(
                            "seedvr2_ema_7b_sharp.pth",
                            OFFICIAL_7B,
                            "ced5706c976d5879efcab9e108349d67abcbd8a9b36a1f48bf0f19c24164a264",
                            32_958_774_606,
                        ),
                        _converted(
                            "seedvr2_ema_7b_sharp_fp16.safetensors",
                            "20a93e01ff24beaeebc5de4e4e5be924359606c356c9c51509fba245bd2d77dd",
                        ),
                        _converted(
                            "seedvr2_ema_7b_sharp_fp8_e4m3fn_mixed_block35_fp16.safetensors", None
                        ),
                    ),
                ),
                _vae(OFFICIAL_7B),
            ),
        ),
    ),
)
