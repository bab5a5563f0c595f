"""Which tokens look at each other: windows of about 400 tokens, whatever the picture's size.

Upstream: `models/dit_v2/window.py` ("720pwin_by_size_bysize" and its shifted sister). Every odd
layer moves its windows by half of their size, without wrapping around.
"""

from collections import defaultdict
from itertools import pairwise, product
from math import ceil, sqrt
from typing import NamedTuple

import torch
from torch import Tensor

PARTS = (4, 3, 3)
"""Into how many windows a reference picture of 3600 tokens (1280 x 720) is parted, per axis."""

REFERENCE_TOKENS = 45 * 80
LONGEST = 30
"""Frames beyond which windows grow no longer in time."""


class Grid(NamedTuple):
    """The shape of a picture or of a window, in tokens; a picture has one frame."""

    frames: int
    rows: int
    columns: int


class Box(NamedTuple):
    """Where a window lies, as a slice of each axis."""

    frames: slice
    rows: slice
    columns: slice

    @property
    def shape(self) -> Grid:
        """The window's own size."""
        return Grid(*(axis.stop - axis.start for axis in self))


def window_size(grid: Grid) -> Grid:
    """Return the size of a full window; only the picture's aspect ratio matters for it."""
    scale = sqrt(REFERENCE_TOKENS / (grid.rows * grid.columns))
    frames, rows, columns = PARTS
    return Grid(
        ceil(min(grid.frames, LONGEST) / frames),
        # `round` goes half to even, as upstream's does. It is 0 at aspect ratios over 14400.
        max(1, ceil(round(grid.rows * scale) / rows)),
        max(1, ceil(round(grid.columns * scale) / columns)),
    )


def window_boxes(grid: Grid, *, shifted: bool) -> list[Box]:
    """Part a grid into windows, columns outermost and frames innermost, as upstream lists them."""
    slices = [
        _shifted(length, size) if shifted and size < length else _regular(length, size)
        for length, size in zip(grid, window_size(grid), strict=True)
    ]
    return [Box(*reversed(axes)) for axes in product(*reversed(slices))]


def window_tokens(grid: Grid, *, shifted: bool) -> dict[Grid, Tensor]:
    """Group windows of the same shape, so that each group is one batch.

    Returns:
        For each shape, at most three per axis, an int64 table on the CPU: a row for each window
        with the positions of its tokens in the flattened picture.
    """
    positions = torch.arange(grid.frames * grid.rows * grid.columns, device="cpu").view(*grid)
    groups: dict[Grid, list[Tensor]] = defaultdict(list)
    for box in window_boxes(grid, shifted=shifted):
        groups[box.shape].append(positions[box].flatten())
    return {shape: torch.stack(rows) for shape, rows in groups.items()}


def _regular(length: int, size: int) -> list[slice]:
    """Part an axis from its beginning; the last part may be short."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _shifted(length: int, size: int) -> list[slice]:
    """Part an axis with borders moved by half a window; the first and last part are short."""
    count = ceil((length - 0.5) / size) + 1
    # `int` truncates towards zero, as upstream's does: an odd size gives unequal halves.
    borders = [max(int((part - 0.5) * size), 0) for part in range(count + 1)]
    parts = [slice(start, min(stop, length)) for start, stop in pairwise(borders)]
    return [part for part in parts if part.start < part.stop]
