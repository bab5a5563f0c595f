"""The files of the Creative upscaler; those of Stable Diffusion 1.5 are Clarity's. Torch-free.

Sources: Stability AI's repositories on the Hugging Face hub. No digest is recorded: the first
download fixes them.
"""

from models.checkpoint.manifest import File, Licence, Manifest, Part, Variant
from models.diffusion.weights import CONTROLNET, MIT, SAFETY, VAE, base, lora

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
        ),
    )


XL_VAE = Part(
    name="vae",
    files=(File(name="sdxl_vae.safetensors", repository="stabilityai/sdxl-vae", licence=MIT),),
)

MANIFEST = Manifest(
    name="creative",
    variants=(
        Variant(
            name=SD15,
            parts=(base("juggernaut_reborn"), VAE, CONTROLNET, lora("more_details"), SAFETY),
        ),
        Variant(name=SDXL, parts=(xl_base(PUBLISHED), XL_VAE, SAFETY)),
    ),
)
