"""Which part of a frame the next one shows. Torch-free."""

from collections.abc import Iterator
from math import floor
from typing import NamedTuple

from models.schema import Size

FACTOR = 2
"""How many times longer each side becomes in a step."""
NUDGE = 1e-6
"""Absorbs the rounding of a target such as 0.7 * 640 = 447.99999."""


class Box(NamedTuple):
    """A part of a picture, in pixels."""

    left: int
    top: int
    right: int
    bottom: int


def boxes(
    size: Size, centre: tuple[float, float], steps: int, *, factor: int = FACTOR
) -> Iterator[Box]:
    """Yield what of each frame is enlarged to be the next one.

    The target is a fixed point of the first frame; a part that would reach beyond a border is
    moved back to it, and the point then lies off the middle.

    Args:
        size: Of every frame.
        centre: (x, y) of the target, each from 0 to 1.
        steps: How many frames follow the first.
        factor: By which each enlarges.
    """
    width, height = size.width // factor, size.height // factor
    x, y = centre[0] * size.width, centre[1] * size.height
    for _ in range(steps):
        left = _start(x, width, size.width)
        top = _start(y, height, size.height)
        yield Box(left, top, left + width, top + height)
        x = (x - left) * size.width / width
        y = (y - top) * size.height / height


def _start(target: float, length: int, whole: int) -> int:
    return min(max(floor(target - length / 2 + NUDGE), 0), whole - length)
