"""All that attention needs to know of a picture's size, computed once and kept for the next block.

A model needs two layouts for a size, and a batch of pictures has few sizes at a time.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from models.seedvr2.rotary import Rotary, Turns
from models.seedvr2.windows import Grid, window_tokens


@dataclass(frozen=True, kw_only=True)
class Group:
    """Windows of one shape.

    Attributes:
        tokens: `(windows, tokens)` positions in the flattened picture.
        turns: Of the tokens of any of the windows.
    """

    tokens: Tensor
    turns: Turns


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The windows of a layer.

    Attributes:
        groups: Each token of the picture is in one window of one group.
        windows: Of all groups together.
        text_turns: Of the text's tokens; None where text is not turned.
    """

    groups: tuple[Group, ...]
    windows: int
    text_turns: Turns | None


@lru_cache(maxsize=16)  # some 3 MB each at 33 megapixels
def lay_out(grid: Grid, rotary: Rotary, *, shifted: bool, device: torch.device) -> Layout:
    """Return the layout of every even (regular) or odd (shifted) layer for a picture's grid."""
    tables = window_tokens(grid, shifted=shifted)
    text = rotary.text_angles()
    return Layout(
        groups=tuple(
            Group(
                tokens=tokens.to(device),
                turns=Turns.by(rotary.window_angles(shape).to(device)),
            )
            for shape, tokens in tables.items()
        ),
        windows=sum(len(tokens) for tokens in tables.values()),
        text_turns=None if text is None else Turns.by(text.to(device)),
    )
