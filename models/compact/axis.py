"""One axis of a picture on its way through a chain of networks, and the last step to its length."""

from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.tiling.boxes import Span

LOBES = 3
"""Of the Lanczos kernel on either side, in pixels of the smaller picture."""


class Axis(NamedTuple):
    """The lengths of one axis of a picture that is enlarged.

    Attributes:
        chained: What the networks make of it, in pixels.
        result: What was asked for; no more than `chained`.
    """

    chained: int
    result: int

    @property
    def shrinking(self) -> float:
        """How many times longer the networks make it than was asked for; 1 where not at all."""
        return self.chained / self.result

    def sampled(self, span: Span) -> Span:
        """Return which of the networks' pixels resampling reads for a part of the result."""
        if self.chained == self.result:
            return span
        reach = LOBES * self.shrinking
        return Span(
            max(0, int(span.start * self.shrinking - reach)),
            min(self.chained, int(span.stop * self.shrinking + reach) + 1),
        )

    def edges(self, span: Span) -> tuple[float, float]:
        """Return where a part of the result begins and ends within what is `sampled` for it."""
        sampled = self.sampled(span)
        first, last = (end * self.shrinking - sampled.start for end in span)
        return first, min(last, float(sampled.length))


def resample(made: Tensor, down: Axis, across: Axis, rows: Span, columns: Span) -> Tensor:
    """Resample a tile of what the networks made to its part of the result, in float32.

    Args:
        made: `(3, h, w)`: what `down` and `across` say is sampled for `rows` and `columns`.
        down: The vertical axis.
        across: The horizontal axis.
        rows: The tile's rows of the result.
        columns: The tile's columns of the result.

    Returns:
        `(3, rows.length, columns.length)` on the CPU; the input itself where nothing is to be done.
    """
    if down.shrinking == across.shrinking == 1:
        return made
    (top, bottom), (left, right) = down.edges(rows), across.edges(columns)
    resized = np.empty((3, rows.length, columns.length), np.float32)
    for channel, samples in enumerate(made.float().contiguous().cpu().numpy()):
        # Pillow reads beyond the box, as far as the kernel reaches and the tile goes.
        image = Image.fromarray(samples).resize(
            (columns.length, rows.length),
            Image.Resampling.LANCZOS,
            box=(left, top, right, bottom),
        )
        resized[channel] = np.asarray(image)
    return torch.from_numpy(resized)
