"""How far each pass goes. Torch-free."""

from dataclasses import dataclass
from math import floor

from models.schema import Size

MULTIPLE = 8
"""Pixels: sides of a picture that becomes latent cells."""
MOST = 2.0
"""By which one pass enlarges at most: beyond that it would invent from too little."""
LESS = 0.8
"""How much of the creativity is left for each further pass."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass of diffusion over the whole picture.

    Attributes:
        factor: By which it enlarges what the one before made.
        strength: How much of the schedule is run, 0 to 1.
        seed: Of its noise.
        size: Of what it makes, in pixels.
    """

    factor: float
    strength: float
    seed: int
    size: Size


def plan(size: Size, *, factor: float, creativity: float, seed: int) -> list[Pass]:
    """Part an enlargement into passes by 2 and what is left.

    Sides are rounded down to multiples of 8 in each pass, but never to nothing.

    Args:
        size: Of the input, in pixels.
        factor: By which each side is to grow, 1 or more.
        creativity: The strength of the first pass, 0 to 1.
        seed: Of the first pass; each further one has the next.
    """
    passes: list[Pass] = []
    for number, each in enumerate(_factors(factor)):
        size = Size(*(max(MULTIPLE, floor(side * each / MULTIPLE) * MULTIPLE) for side in size))
        passes.append(
            Pass(factor=each, strength=creativity * LESS**number, seed=seed + number, size=size)
        )
    return passes


def _factors(factor: float) -> list[float]:
    if factor <= MOST:
        return [factor]
    factors = []
    while factor >= MOST:
        factors.append(MOST)
        factor /= MOST
    return [*factors, factor] if factor > 1 else factors
