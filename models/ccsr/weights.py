"""The published files of CCSR v1. Torch-free.

Sources: csslc/CCSR's README, which links the checkpoint, and its conversions to safetensors by the
author of github.com/kijai/ComfyUI-CCSR. The README names Apache-2.0; UNet, encoder and text encoder
are those of Stable Diffusion 2.1, whose licence has terms of use. No digest was published.
"""

from models.checkpoint.manifest import File, Licence, Manifest, Part, Variant

LICENCE = Licence(
    name="Apache-2.0 AND CreativeML Open RAIL++-M",
    url="https://github.com/Stability-AI/stablediffusion/blob/main/LICENSE-MODEL",
    free=False,
)

CONVERSIONS = "Kijai/ccsr-safetensors"

MANIFEST = Manifest(
    name="ccsr",
    variants=(
        Variant(
            name="real-world",
            parts=(
                Part(
                    name="model",
                    files=(
                        File(
                            name="real-world_ccsr-fp32.safetensors",
                            repository=CONVERSIONS,
                            licence=LICENCE,
                        ),
                        File(
                            name="real-world_ccsr-fp16.safetensors",
                            repository=CONVERSIONS,
                            licence=LICENCE,
                        ),
                        File(name="real-world_ccsr.ckpt", repository=None, licence=LICENCE),
                    ),
                ),
            ),
        ),
    ),
)
