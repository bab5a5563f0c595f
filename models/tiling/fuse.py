"""Overlapping tiles of a latent, predicted one by one and averaged with weights.

What diffusion models that were trained on small pictures do with large ones (MultiDiffusion,
Bar-Tal et al. 2023). Unlike `models.tiling.vae`, this shows in the result: no tile sees another.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from models.tiling.boxes import Span

VARIANCE = 0.01
"""Of the weights' bell, in squares of a tile's side (csslc/CCSR, after pkuliyi2015's work)."""

LEAST_STEP = 4
"""By which a tile is longer than what it shares with the next."""


class Box(NamedTuple):
    """Where a tile lies."""

    rows: Span
    columns: Span

    def scaled(self, factor: int) -> "Box":
        """Return the same place in a picture with sides that many times as long."""
        return Box(*(Span(span.start * factor, span.stop * factor) for span in self))

    def cut(self, picture: Tensor) -> Tensor:
        """Return a view of the place in `(..., h, w)`."""
        return picture[..., slice(*self.rows), slice(*self.columns)]


@dataclass(frozen=True, kw_only=True)
class Mosaic:
    """Tiles of one shape that cover a picture.

    Attributes:
        boxes: Where they lie, rows first.
        weights: `(h, w)` of a tile: how much each pixel counts; float32.
        at_once: How many go through a network as one batch.
    """

    boxes: tuple[Box, ...]
    weights: Tensor
    at_once: int

    def batches(self) -> Iterator[Sequence[Box]]:
        """Part the tiles into what goes through a network at once."""
        for start in range(0, len(self.boxes), self.at_once):
            yield self.boxes[start : start + self.at_once]

    @property
    def batch_count(self) -> int:
        """How many batches there are."""
        return -(-len(self.boxes) // self.at_once)

    def scaled(self, factor: int) -> "Mosaic":
        """Return the same tiles of a picture with sides that many times as long."""
        return Mosaic(
            boxes=tuple(box.scaled(factor) for box in self.boxes),
            weights=self.weights.repeat_interleave(factor, 0).repeat_interleave(factor, 1),
            at_once=self.at_once,
        )


def cut(picture: Tensor, boxes: Sequence[Box]) -> Tensor:
    """Copy tiles of a picture `(1, c, H, W)` into a batch `(n, c, h, w)`."""
    return torch.cat([box.cut(picture) for box in boxes])


class Fusion:
    """A weighted mean in the making, in float32: weights differ by eleven orders of magnitude."""

    def __init__(self, weights: Tensor, height: int, width: int) -> None:
        """Begin with nothing.

        Args:
            weights: Of a tile; see `Mosaic`.
            height: Of the whole.
            width: Likewise.
        """
        self._weights = weights
        self._total: Tensor | None = None
        self._weight = torch.zeros(height, width, device=weights.device)

    def add(self, boxes: Sequence[Box], tiles: Tensor) -> None:
        """Add a batch `(n, c, h, w)` of tiles."""
        if self._total is None:
            self._total = self._weight.new_zeros(1, tiles.shape[1], *self._weight.shape)
        for box, tile in zip(boxes, tiles, strict=True):
            box.cut(self._total)[0].add_(tile * self._weights)
            box.cut(self._weight).add_(self._weights)

    def mean(self) -> Tensor:
        """Return `(1, c, H, W)` float32; every pixel must have been in a tile."""
        assert self._total is not None, "a picture has at least one tile"
        return self._total / self._weight


def whole(height: int, width: int, device: torch.device) -> Mosaic:
    """Return the mosaic of a single tile."""
    box = Box(Span(0, height), Span(0, width))
    return Mosaic(boxes=(box,), weights=torch.ones(height, width, device=device), at_once=1)


def windows(height: int, width: int, *, size: int, stride: int) -> tuple[Box, ...]:
    """Return square tiles in rows, the last ones of each axis moved back to end with it.

    Args:
        height: Of the whole; not less than `size`.
        width: Likewise.
        size: Along each side of a tile.
        stride: From each tile to the next, at most `size`.
    """
    rows, columns = (spans(length, size, stride) for length in (height, width))
    return tuple(Box(down, across) for down, across in product(rows, columns))


def spans(length: int, size: int, stride: int) -> list[Span]:
    """Return tiles along one axis, a `stride` apart, the last one moved back to its end."""
    last = length - size
    starts = [*range(0, last + 1, stride)]
    if starts[-1] != last:
        starts.append(last)
    return [Span(start, start + size) for start in starts]


def spread(
    height: int, width: int, *, tile_height: int, tile_width: int, overlap: int
) -> tuple[Box, ...]:
    """Return tiles in rows, evenly spread, so that neighbours overlap by `overlap` or more.

    Args:
        height: Of the whole.
        width: Likewise.
        tile_height: Of a tile; the whole's where that is less.
        tile_width: Likewise.
        overlap: Less than the sides of a tile, or it is made so.
    """
    overlap = max(0, min(overlap, min(tile_height, tile_width) - LEAST_STEP))
    rows, columns = (
        _evenly(length, min(tile, length), overlap)
        for length, tile in ((height, tile_height), (width, tile_width))
    )
    return tuple(Box(down, across) for down, across in product(rows, columns))


def _evenly(length: int, tile: int, overlap: int) -> list[Span]:
    count = 1 if length <= tile else -(-(length - overlap) // (tile - overlap))
    step = (length - tile) / (count - 1) if count > 1 else 0.0
    starts = [min(int(number * step), length - tile) for number in range(count)]
    # A product of floats can fall short of the border by one.
    starts[-1] = length - tile
    return [Span(start, start + tile) for start in starts]


def balanced(tiles: int, most: int) -> int:
    """Return how many tiles go through a network at once, so that all batches are about equal."""
    return -(-tiles // -(-tiles // most))


def uniform(height: int, width: int) -> Tensor:
    """Return weights by which all pixels of a tile count the same."""
    return torch.ones(height, width)


def bell(height: int, width: int) -> Tensor:
    """Return weights that fall from a tile's middle to its borders.

    Upstream's middle is half a pixel too far down, and its bell as wide as the tile in both
    directions; that is kept.
    """
    return _bell(height, width, width).float()


def side_bell(height: int, width: int) -> Tensor:
    """Return the same, in float64, with the bell as high as the tile."""
    return _bell(height, width, height)


def _bell(height: int, width: int, spread_down: int) -> Tensor:
    down, across = (
        torch.exp(
            -((torch.arange(length, dtype=torch.float64) - middle) ** 2) / (2 * VARIANCE * wide**2)
        )
        / math.sqrt(2 * math.pi * VARIANCE)
        for length, middle, wide in (
            (height, height / 2, spread_down),
            (width, (width - 1) / 2, width),
        )
    )
    return torch.outer(down, across)
