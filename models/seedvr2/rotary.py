"""Rotary position embeddings: pairs of channels are turned by a token's place in its window.

Upstream: `models/dit_v2/rope.py` and `models/dit/rope.py`. Frequencies are computed here, in
float32; those in a checkpoint are not read, since files of reduced precision have rounded them.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from models.seedvr2.config import DitConfig, Flavour
from models.seedvr2.windows import Grid

AXES = 3
"""Frames, rows and columns have channels of their own."""


class Turns(NamedTuple):
    """Cosine and sine of each token's angles: `(tokens, 1, pairs)` each, float32."""

    cosine: Tensor
    sine: Tensor

    @classmethod
    def by(cls, angles: Tensor) -> Self:
        """Return the turns by `(tokens, pairs)` angles in radians."""
        return cls(angles.cos()[:, None], angles.sin()[:, None])

    def apply(self, heads: Tensor) -> Tensor:
        """Turn the leading channels of `(..., tokens, heads, channels)`; the rest stay."""
        turned = 2 * self.cosine.shape[-1]
        first, second = heads[..., :turned].float().unflatten(-1, (-1, 2)).unbind(-1)
        pairs = torch.stack(
            [
                first * self.cosine - second * self.sine,
                second * self.cosine + first * self.sine,
            ],
            dim=-1,
        )
        return torch.cat([pairs.flatten(-2).to(heads.dtype), heads[..., turned:]], dim=-1)


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """The rule by which one model turns its tokens.

    Attributes:
        flavour: The 3B counts tokens and turns text too; the 7B measures windows from -1 to 1.
        head_width: Channels of a head; a part of them is turned.
        text_length: Tokens of text.
    """

    flavour: Flavour
    head_width: int
    text_length: int

    @classmethod
    def of(cls, config: DitConfig, text_length: int) -> Self:
        """Return the rule of a model."""
        return cls(flavour=config.flavour, head_width=config.head_width, text_length=text_length)

    def frequencies(self) -> Tensor:
        """Return the float32 frequencies of one axis, one for each pair of channels.

        Counted places turn as in a language model, 10000^(-2i/d) for d channels an axis;
        measured ones by pi to 128 pi, evenly.
        """
        channels = frequency_channels(self.flavour, self.head_width)
        if self.flavour is Flavour.B3:
            return 10000.0 ** (-2 * torch.arange(channels // 2, dtype=torch.float32) / channels)
        return torch.pi * torch.linspace(1, 128, channels // 2)

    def window_angles(self, shape: Grid) -> Tensor:
        """Return the `(tokens, pairs)` angles of the tokens of a window, in radians."""
        if self.flavour is Flavour.B3:
            starts = (self.text_length, 0, 0)  # a picture's frame comes after all of the text
            places = [
                start + torch.arange(length, dtype=torch.float32)
                for start, length in zip(starts, shape, strict=True)
            ]
        else:
            places = [torch.linspace(-1, 1, length) for length in shape]  # -1 for a length of 1
        return self._angles(torch.cartesian_prod(*places).view(-1, AXES))

    def text_angles(self) -> Tensor | None:
        """Return the `(tokens, pairs)` angles of the text, or None where it is not turned."""
        if self.flavour is Flavour.B7:
            return None
        places = torch.arange(self.text_length, dtype=torch.float32)
        return self._angles(places[:, None].expand(-1, AXES))

    def _angles(self, places: Tensor) -> Tensor:
        """Return `(tokens, 3 * frequencies)` angles of `(tokens, 3)` places."""
        return (places[:, :, None] * self.frequencies()).flatten(1)


def frequency_channels(flavour: Flavour, head_width: int) -> int:
    """Return how many channels of a head are for one axis; an odd one is not turned."""
    return (head_width if flavour is Flavour.B3 else head_width // 2) // AXES
