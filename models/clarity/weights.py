"""The files of the Clarity upscaler; see `models.diffusion.weights`. Torch-free."""

from models.checkpoint.manifest import File, Manifest, Part, Variant
from models.diffusion.weights import CONTROLNET, SAFETY, UNKNOWN, VAE, base, lora


def inversion(name: str) -> Part:
    """Return the part of a textual inversion."""
    repository = "philz1337x/embeddings" if name == "JuggernautNegative-neg" else None
    files = (
        File(name=f"{name}.pt", repository=repository, licence=UNKNOWN),
        File(name=f"{name}.safetensors", repository=None, licence=UNKNOWN),
    )
    return Part(name=f"inversion {name}", files=files)


MANIFEST = Manifest(
    name="clarity",
    variants=(
        Variant(
            name="sd15",
            parts=(
                base("juggernaut_reborn"),
                VAE,
                CONTROLNET,
                lora("more_details"),
                lora("SDXLrender_v2.0"),
                inversion("JuggernautNegative-neg"),
                SAFETY,
            ),
        ),
    ),
)
