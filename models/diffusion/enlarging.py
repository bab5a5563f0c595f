"""What makes a picture larger before diffusion works on it: another endpoint, or resampling."""

from dataclasses import replace
from enum import StrEnum

import numpy as np
from PIL import Image

from models import catalog
from models.diffusion.stages import Stages
from models.image import Picture, Pixels
from models.schema import Size
from models.upscaler import Work

MOST_TIMES = 3
"""That a picture is enlarged by an endpoint, where once does not reach the size."""


class Enlarger(StrEnum):
    """What makes a picture larger before diffusion works on it; none stands in for another."""

    ESRGAN = "esrgan"
    """enlarger/esrgan, with its default weights."""
    COMPACT = "compact"
    """enlarger/compact."""
    LANCZOS = "lanczos"
    """Resampling: the softest start."""

    @property
    def endpoint(self) -> str:
        """The endpoint's id."""
        return f"enlarger/{self}"


def enlarge(
    pixels: Pixels, size: Size, chosen: Enlarger, stages: Stages, *, share: float
) -> Pixels:
    """Bring a picture to a size: by the chosen endpoint beyond it, by Lanczos back to it.

    Args:
        pixels: `(h, w, 3)` uint8.
        size: Not less than the picture's.
        chosen: See there.
        stages: Lends the endpoint, and is told of its progress.
        share: Of the pass that this is.
    """
    for time_ in range(MOST_TIMES if chosen is not Enlarger.LANCZOS else 0):
        if pixels.shape[1] >= size.width and pixels.shape[0] >= size.height:
            break
        # With its own default: 4 for esrgan; 2 for compact.
        request = catalog.find(chosen.endpoint).request_class()(image_url="a pass")
        first, last = (1 - 0.5**time_) * share, (1 - 0.5 ** (time_ + 1)) * share
        context = replace(stages.context, progress=stages.within(first, last, "enlarging"))
        work = Work(Picture(pixels=pixels), request, context)
        pixels = stages.context.borrow(chosen.endpoint, work).images[0]
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS))
