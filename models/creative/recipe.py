"""What each parameter of a request drives. Torch-free.

Nothing of the published endpoint's inside is known, so all of this is our own definition: each
parameter drives one thing, and has a value at which that thing is as if it were not there.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from models import catalog
from models.schema import Size, UpscaleRequest

if TYPE_CHECKING:
    from models.creative.schema import CreativeRequest

MULTIPLE = 8
"""Pixels: sides of a picture that becomes latent cells."""
RESTORER = "fal-ai/ccsr"
"""The endpoint that restores a picture before detail is added."""
WHOLE_PIXELS = 2 * 1024**2
"""What is restored as a whole; a larger picture is restored in tiles."""
LORA_SHARE = 0.5
"""Of the detail LoRA, at a `detail` of 1."""
NOISE_SHARE, LEAST_NOISE, MOST_NOISE = 0.05, 0.95, 1.2
"""By how much `detail` changes the noise that is added, where no detail LoRA is installed."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the pipeline does for a request.

    Attributes:
        target: The size of the result.
        working: The size that is diffused at.
        strength: How much of the schedule is run, 0 to 1.
        detail: How much of the detail LoRA is added; 0 for none of it.
        noise: What the first noise is multiplied by where there is no such LoRA.
        firmness: What the ControlNet's outputs are multiplied by; 0 for no ControlNet.
        guidance: At 1, the prompt alone is asked.
        prompt: What the result should be like.
    """

    target: Size
    working: Size
    strength: float
    detail: float
    noise: float
    firmness: float
    guidance: float
    prompt: str


def plan(asked: "CreativeRequest", size: Size, *, text: str) -> Recipe:
    """Turn a request for a picture of a size into a recipe.

    Args:
        asked: The request.
        size: Of the input.
        text: The prompt, or the caption that stands for a missing one.
    """
    goal = target(size, asked.scale)
    noise = 1 + NOISE_SHARE * (asked.detail - 1)
    return Recipe(
        target=goal,
        working=padded(goal),
        strength=asked.creativity,
        detail=LORA_SHARE * asked.detail,
        noise=min(max(noise, LEAST_NOISE), MOST_NOISE),
        firmness=asked.shape_preservation,
        guidance=max(asked.guidance_scale, 1.0),
        prompt=text + asked.prompt_suffix,
    )


def target(size: Size, scale: float) -> Size:
    """Return the size of a result: sides are rounded down."""
    return Size(*(int(side * scale) for side in size))


def padded(size: Size) -> Size:
    """Return the next size that latent cells cover."""
    return Size(*(side + -side % MULTIPLE for side in size))


def restoration(goal: Size) -> UpscaleRequest:
    """Return the request to restore a picture that was brought to its final size already.

    All but what bounds memory is the restorer's default. It would bring the picture to that size
    by the same resampling itself, but knows other sizes and scales.
    """
    whole = goal.width * goal.height <= WHOLE_PIXELS
    arguments: dict[str, Any] = {
        "scale": 1.0,
        "tile_diffusion": "none" if whole else "gaussian",
        "tile_vae": True,
    }
    return catalog.find(RESTORER).request_class()(image_url="a pass", **arguments)
