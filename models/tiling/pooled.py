"""Runs an autoencoder over tiles as sd-webui's "Tiled VAE" does, for results that equal upstream's.

Every tile goes through all layers with its padding; attention sees one tile, and group norms share
statistics that are the weighted mean of the tiles' own. The result differs from the untiled one,
which `models.tiling.vae` does not. Written from a description of the algorithm.
"""

import math
from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

from torch import Tensor

from models.tiling import vae
from models.tiling.boxes import Span
from models.tiling.fuse import Box
from models.tiling.moments import measure, normalise, pool
from models.tiling.steps import Add, Local, Norm, Push, Step, Whole
from models.tiling.vae import Floor

DECODER_MARGIN = 11
"""Cells around a tile of a latent."""

ENCODER_MARGIN = 32
"""Pixels around a tile of a picture."""

ROUND_NUMBERS = (32, 16, 8, 4, 2)
"""What sides of tiles are rounded up to multiples of, the first that fits."""


class Part(NamedTuple):
    """A tile along one axis.

    Attributes:
        given: What of the input it is made of.
        made: What of the output it makes, without what its margins make.
    """

    given: Span
    made: Span


def run(steps: Sequence[Step], picture: Tensor, floor: Floor) -> Tensor:
    """Take a picture, or a latent, through the steps.

    Args:
        steps: Of an encoder or a decoder.
        picture: `(b, c, h, w)` in the network's dtype.
        floor: Where; `tile` is the side of a tile in pixels, without margins.

    Returns:
        `(b, c', h', w')` on `floor.rest`.
    """
    up, down = (math.prod(getattr(step, way, 1) for step in steps) for way in ("up", "down"))
    margin = DECODER_MARGIN if up > 1 else ENCODER_MARGIN
    tile = floor.tile // up
    longest = max(picture.shape[2:])
    if longest <= tile + 2 * margin:
        return vae.run(steps, picture, floor._replace(tile=longest * up))
    rows, columns = (
        split(length, tile=tile, margin=margin, up=up, down=down) for length in picture.shape[2:]
    )
    places = [*product(rows, columns)]
    tiles = [Box(*(part.given for part in place)).cut(picture).to(floor.rest) for place in places]
    done = _lockstep(steps, tiles, floor)
    height, width = (length * up // down for length in picture.shape[2:])
    result = done[0].new_empty(*done[0].shape[:2], height, width)
    for place, tile in zip(places, done, strict=True):
        down_slice, across_slice = (
            part.made.within(_scaled(part.given, up, down)) for part in place
        )
        Box(*(part.made for part in place)).cut(result).copy_(tile[..., down_slice, across_slice])
    return result


def split(length: int, *, tile: int, margin: int, up: int, down: int) -> list[Part]:
    """Part one axis of the input.

    Args:
        length: Of the axis, in pixels of the input.
        tile: The longest that a tile may be, without its margins.
        margin: Around each tile; the picture's own borders serve as one.
        up: Pixels of output for each pixel of input.
        down: Pixels of input for each pixel of output.
    """
    inside = length - 2 * margin
    count = max(1, -(-inside // tile))
    side = _round_side(-(-inside // count), tile)
    parts = []
    for index in range(count):
        start = margin + index * side
        stop = min(start + side, length)
        made = Span(start if start > margin else 0, stop if stop < length - margin else length)
        given = Span(max(0, start - margin), min(length, stop + margin))
        parts.append(Part(given=given, made=_scaled(made, up, down)))
    return parts


def _round_side(side: int, most: int) -> int:
    """Round a side up to a multiple of a round number, where it stays within `most`."""
    for number in ROUND_NUMBERS:
        rounded = -(-side // number) * number
        if side % number == 0 or rounded <= most:
            return rounded
    return side


def _scaled(span: Span, up: int, down: int) -> Span:
    return Span(span.start * up // down, span.stop * up // down)


def _lockstep(steps: Sequence[Step], tiles: list[Tensor], floor: Floor) -> list[Tensor]:
    """Take all tiles through each step before the next begins; they wait at rest."""
    kept: list[list[Tensor]] = []
    for step in steps:
        match step:
            case Push():
                kept.append(tiles)
            case Add():
                tiles = _sums(step, tiles, kept.pop(), floor)
            case Norm():
                tiles = _each(tiles, _normal(step, tiles, floor), floor)
            case Local() | Whole():
                tiles = _each(tiles, step.module, floor)
    return tiles


def _each(tiles: Sequence[Tensor], work: Callable[[Tensor], Tensor], floor: Floor) -> list[Tensor]:
    """Do the same to every tile, on the device."""
    done = []
    for tile in tiles:
        floor.tick()
        done.append(work(tile.to(floor.device)).to(floor.rest))
    return done


def _sums(
    step: Add, tiles: Sequence[Tensor], saved: Sequence[Tensor], floor: Floor
) -> list[Tensor]:
    shortcuts = _each(saved, step.shortcut, floor) if step.shortcut else saved
    return [tile + shortcut for tile, shortcut in zip(tiles, shortcuts, strict=True)]


def _normal(step: Norm, tiles: Sequence[Tensor], floor: Floor) -> Callable[[Tensor], Tensor]:
    """Return a normalisation with the mean of the tiles' own statistics."""
    groups = step.norm.num_groups
    shared = pool([measure(tile.to(floor.device), groups) for tile in tiles], between=False)

    def normal(tile: Tensor) -> Tensor:
        made = normalise(tile, step.norm, shared)
        return step.activation(made) if step.activation else made

    return normal
