"""The files that endpoints on Stable Diffusion are made of. Torch-free.

Sources: philz1337x/clarity-upscaler's list of downloads, and the repositories on the Hugging Face
hub that hold them. Digests are not published; the first download fixes them.
"""

from models.checkpoint.manifest import File, Licence, Part

OPENRAIL = Licence(
    name="CreativeML-OpenRAIL-M",
    url="https://huggingface.co/spaces/CompVis/stable-diffusion-license",
    free=False,
)
MIT = Licence(name="MIT", url="https://opensource.org/license/mit", free=True)
UNKNOWN = Licence(
    name="not stated; as its author says", url="https://civitai.com/models", free=False
)

UNET_FILE = "unet/diffusion_pytorch_model.safetensors"
"""What tells a folder in diffusers' layout; the text encoders lie beside it."""


def base(name: str) -> Part:
    """Return the part of a checkpoint of Stable Diffusion 1.5."""
    repositories = {"juggernaut_reborn": "dantea1118/juggernaut_reborn"}
    return Part(
        name="base",
        files=(
            File(name=f"{name}.safetensors", repository=repositories.get(name), licence=OPENRAIL),
            File(name=f"{name}.ckpt", repository=None, licence=OPENRAIL),
            File(name=f"{name}/{UNET_FILE}", repository=None, licence=OPENRAIL),
        ),
    )


def lora(name: str) -> Part:
    """Return the part of a LoRA."""
    known = name in ("more_details", "SDXLrender_v2.0")
    repository = "philz1337x/loras" if known else None
    file = File(name=f"{name}.safetensors", repository=repository, licence=UNKNOWN)
    return Part(name=f"lora {name}", files=(file,))


def controlnet(name: str, licence: Licence, *, single: File | None = None) -> Part:
    """Return the part of a ControlNet: a folder in diffusers' layout, after a single file."""
    folder = tuple(
        File(name=f"{name}/diffusion_pytorch_model.{suffix}", repository=None, licence=licence)
        for suffix in ("safetensors", "bin")
    )
    return Part(name="controlnet", files=(*((single,) if single else ()), *folder))


VAE = Part(
    name="vae",
    files=(
        File(
            name="vae-ft-mse-840000-ema-pruned.safetensors",
            repository="stabilityai/sd-vae-ft-mse-original",
            licence=MIT,
        ),
        File(name="vae-ft-mse-840000-ema-pruned.ckpt", repository=None, licence=MIT),
    ),
)
"""The autoencoder of Stable Diffusion 1.5."""

CONTROLNET = controlnet(
    "control_v11f1e_sd15_tile",
    OPENRAIL,
    single=File(
        name="control_v11f1e_sd15_tile.pth",
        repository="lllyasviel/ControlNet-v1-1",
        licence=OPENRAIL,
    ),
)
"""For tiles, of Stable Diffusion 1.5."""

SAFETY = Part(
    name="safety",
    files=(
        File(
            name="pytorch_model.bin",
            repository="CompVis/stable-diffusion-safety-checker",
            licence=OPENRAIL,
        ),
        File(name="model.safetensors", repository=None, licence=OPENRAIL),
    ),
)
