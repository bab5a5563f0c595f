"""The files of the Creative upscaler; those of Stable Diffusion 1.5 are Clarity's. Torch-free.

Sources: Stability AI's repositories on the Hugging Face hub. No digest is recorded: the first
download fixes them.
"""

from models.checkpoint.manifest import File, Licence, Manifest, Part, Variant
from models.diffusion.weights import CONTROLNET, MIT, SAFETY, UNET_FILE, VAE, base, lora

SD15, SDXL = "SD_1_5", "SDXL"
"""The variants, as requests name them."""

OPENRAIL_XL = Licence(
    name="CreativeML Open RAIL++-M",
    url="https://huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md",
    free=False,
)
PUBLISHED = "sd_xl_base_1.0"


def xl_base(name: str) -> Part:
    """Return the part of a checkpoint of Stable Diffusion XL."""
    repository = "stabilityai/stable-diffusion-xl-base-1.0" if name == PUBLISHED else None
    return Part(
        name="base",
        files=(
            File(name=f"{name}.safetensors", repository=repository, licence=OPENRAIL_XL),
            File(name=f"{name}.ckpt", repository=None, licence=OPENRAIL_XL),
            File(name=f"{name}/{UNET_FILE}", repository=None, licence=OPENRAIL_XL),
        ),
    )


XL_VAE = Part(
    name="vae",
    files=(File(name="sdxl_vae.safetensors", repository="stabilityai/sdxl-vae", licence=MIT),),
)

CONFIG, TOKENIZER = "config.json", "tokenizer.json"
BSD = Licence(name="BSD-3-Clause", url="https://opensource.org/license/bsd-3-clause", free=True)
CAPTIONERS = {
    "blip2": (
        "Salesforce/blip2-opt-2.7b",
        MIT,
        (
            CONFIG,
            TOKENIZER,
            "model.safetensors.index.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
        ),
    ),
    "blip": (
        "Salesforce/blip-image-captioning-large",
        BSD,
        (CONFIG, TOKENIZER, "model.safetensors"),
    ),
}
"""The repositories of the networks that write captions, their terms as their pages state them (the
language model in the first has Meta's own for OPT), and their files."""


def captioner(kind: str) -> tuple[Part, ...]:
    """Return the parts of a network that writes captions, in a folder of its name."""
    repository, licence, names = CAPTIONERS[kind]
    return tuple(
        Part(
            name=f"{kind} {name}",
            files=(
                File(
                    name=f"{kind}/{name}",
                    published=name,
                    repository=repository,
                    licence=licence,
                ),
            ),
        )
        for name in names
    )


MANIFEST = Manifest(
    name="creative",
    variants=(
        Variant(
            name=SD15,
            parts=(
                base("juggernaut_reborn"),
                VAE,
                CONTROLNET,
                lora("more_details"),
                SAFETY,
                *captioner("blip2"),
            ),
        ),
        Variant(name=SDXL, parts=(xl_base(PUBLISHED), XL_VAE, SAFETY, *captioner("blip2"))),
    ),
)
