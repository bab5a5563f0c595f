"""Lanczos resampling by Pillow: the baseline that every network is compared with.

8-bit pictures are resampled in fixed point as Pillow does; 16-bit ones channel by channel in
float32, because Pillow has no mode for three channels of 16 bits.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from PIL import Image

from models.checkpoint.manifest import LocalWeights
from models.image import Picture, Pixels, resample
from models.lanczos.schema import LanczosRequest
from models.options import NoOptions
from models.schema import Size
from models.upscaler import Context, Result


@dataclass(frozen=True)
class LanczosUpscaler:
    """Has no weights and no state; runs on the CPU whatever the device."""

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: NoOptions, device: str, dtype: str
    ) -> Self:
        """Return an upscaler; there is nothing to read and nothing to place."""
        return cls()

    def upscale(self, picture: Picture, request: LanczosRequest, context: Context) -> Result:
        """Resample one picture to `request.output_size`, in the depth that it came with."""
        size = request.output_size(Size(picture.width, picture.height))
        context.progress(0.0, "resampling")
        if picture.pixels.dtype == np.uint8:
            context.check_cancelled()
            enlarged = np.array(
                Image.fromarray(picture.pixels).resize(size, Image.Resampling.LANCZOS)
            )
        else:
            enlarged = _resample_channels(picture.pixels, size, context)
        context.progress(1.0, "resampling")
        return Result(images=(enlarged,), seed=context.seed)


def _resample_channels(pixels: Pixels, size: Size, context: Context) -> Pixels:
    """Resample `(H, W, 3)` one channel at a time, so that one float copy lives at once."""
    enlarged = np.empty((size.height, size.width, 3), dtype=pixels.dtype)
    for channel in range(3):
        context.check_cancelled()
        enlarged[..., channel] = resample(pixels[..., channel], size)
        context.progress((channel + 1) / 4, "resampling")
    return enlarged
