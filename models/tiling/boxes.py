"""Where the tiles of a picture lie, one axis at a time. Torch-free.

A tile is a span of rows and a span of columns. Convolutions and resampling reach equally far along
both axes, independently, so all that a tile needs can be said of one axis and used for the other.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.image import Pixels


class Span(NamedTuple):
    """Pixels from `start` to before `stop` along one axis; may reach beyond a picture's borders."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """The number of pixels."""
        return self.stop - self.start

    def within(self, outer: "Span") -> slice:
        """Return where this span lies in an array that holds `outer`."""
        return slice(self.start - outer.start, self.stop - outer.start)


class Reach(NamedTuple):
    """What a network reads along one axis for a pixel of its output.

    Attributes:
        scale: Pixels of output that each pixel of input becomes.
        radius: Pixels of input on either side that an output pixel depends on.
    """

    scale: int
    radius: int


def part(length: int, *, most: int) -> list[Span]:
    """Part an axis into consecutive spans of at most `most` pixels, as equal as can be."""
    count = -(-length // most)
    return [Span(*ends) for ends in pairwise(length * index // count for index in range(count + 1))]


def needed(wanted: Span, chain: Sequence[Reach]) -> list[Span]:
    """Trace back what a chain of networks needs for a part of its output.

    Args:
        wanted: A part of what the last network makes, in its pixels.
        chain: The networks in the order that pixels pass through.

    Returns:
        One more span than there are networks: what to read of the input, what is then wanted of
        each network's output, and at last `wanted`. They are not cut at the picture's borders: a
        tile at a border sees as much beyond it as any other.
    """
    spans = [wanted]
    for reach in reversed(chain):
        after = spans[0]
        before = Span(
            after.start // reach.scale - reach.radius, -(-after.stop // reach.scale) + reach.radius
        )
        spans.insert(0, before)
    return spans


def read(pixels: Pixels, rows: Span, columns: Span) -> npt.NDArray[np.float32]:
    """Copy a part of a picture; beyond its borders the outermost pixels go on.

    Args:
        pixels: `(H, W, 3)`, uint8 or uint16.
        rows: Of the part; may reach over the borders by any length.
        columns: Likewise.

    Returns:
        `(rows.length, columns.length, 3)` in [0, 1].
    """
    height, width = pixels.shape[:2]
    down = np.arange(*rows).clip(0, height - 1)
    across = np.arange(*columns).clip(0, width - 1)
    most = np.float32(np.iinfo(pixels.dtype).max)
    return pixels[down[:, None], across].astype(np.float32) / most
