"""A convolutional autoencoder as a flat list of steps, which `models.tiling.vae` runs tile by tile.

`Push` and `Add` stand for a residual connection: what lies between them is the branch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class Local:
    """A layer whose output depends on a neighbourhood of its input.

    It pads by itself, as it would for a whole picture. Where a tile ends inside of the picture, the
    padding spoils the outermost pixels, which are cut off.

    Attributes:
        module: `(b, c, h, w)` to `(b, c', h * up // down, w * up // down)`.
        reach: Pixels of context on each side, in pixels of the input; in pixels of the output where
            `down` is more than 1. Too much costs time, too little is wrong.
        up: Pixels of output for each pixel of input, along each axis.
        down: Pixels of input for each pixel of output, along each axis; one of the two is 1.
    """

    module: Callable[[Tensor], Tensor]
    reach: int = 0
    up: int = 1
    down: int = 1


@dataclass(frozen=True, kw_only=True)
class Norm:
    """A group normalisation: its statistics are those of the whole picture.

    Attributes:
        norm: The layer; affine.
        activation: Applied after it, in place if it likes.
    """

    norm: nn.GroupNorm
    activation: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class Push:
    """Keep what has been computed so far for the next `Add`."""


@dataclass(frozen=True, kw_only=True)
class Add:
    """Add what was pushed last.

    Attributes:
        shortcut: What it passes through first, pixel by pixel; None for nothing.
    """

    shortcut: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A layer that must see the whole picture at once, such as attention.

    Attributes:
        module: `(b, c, h, w)` to the same shape.
    """

    module: Callable[[Tensor], Tensor]


Step: TypeAlias = Local | Norm | Push | Add | Whole


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Steps that one tile goes through in one go, from one tensor at rest to the next.

    Attributes:
        norm: Comes first; its statistics were taken when its input was made.
        layers: Come then.
        add: Comes last.
        measure: The number of groups whose statistics the following norm needs; 0 for none.
    """

    norm: Norm | None = None
    layers: tuple[Local, ...] = ()
    add: Add | None = None
    measure: int = 0


Stage: TypeAlias = Segment | Push | Whole


def fuse(steps: Sequence[Step]) -> list[Stage]:
    """Gather steps into as few segments as can be: a tensor rests only where it has to."""
    stages: list[Stage] = []
    for step in steps:
        match step:
            case Norm():
                _measure(stages, step.norm.num_groups)
                stages.append(Segment(norm=step))
            case Local():
                opened = _open(stages)
                stages[-1] = replace(opened, layers=(*opened.layers, step))
            case Add():
                stages[-1] = replace(_open(stages), add=step)
            case Push() | Whole():
                stages.append(step)
    return stages


def _open(stages: list[Stage]) -> Segment:
    """Return the last stage, which takes more steps; append an empty one where it doesn't."""
    last = stages[-1] if stages else None
    if isinstance(last, Segment) and last.add is None:
        return last
    stages.append(Segment())
    return stages[-1]  # type: ignore[return-value] # it was just appended


def _measure(stages: list[Stage], groups: int) -> None:
    """Have the segment before a norm take its statistics; there may be a push between the two."""
    where = len(stages)
    while where and isinstance(stages[where - 1], Push):
        where -= 1
    before = stages[where - 1] if where else None
    if isinstance(before, Segment):
        stages[where - 1] = replace(before, measure=groups)
    else:
        stages.insert(where, Segment(measure=groups))
