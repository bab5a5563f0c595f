"""The timestep's influence: shifts, scales and gates of every channel, in float32.

Upstream: `models/dit_v2/modulation.py` ("AdaSingle"): one embedding for the whole network, to which
each block adds vectors of its own. There is no "1 +" before a scale; the learned ones are near 1.
"""

from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import silu

SINUSOIDS = 256
"""Channels of the timestep before the first layer."""


class Slot(NamedTuple):
    """What the timestep says to one part of a block: `(width,)` each, float32."""

    shift: Tensor
    scale: Tensor
    gate: Tensor

    def enter(self, tokens: Tensor) -> Tensor:
        """Scale and shift what goes into the part; in the tokens' own dtype."""
        return (tokens * self.scale + self.shift).to(tokens.dtype)

    def leave(self, tokens: Tensor) -> Tensor:
        """Gate what comes out of it; in the tokens' own dtype."""
        return (tokens * self.gate).to(tokens.dtype)


class Embedding(NamedTuple):
    """The timestep's embedding, by what it is for."""

    attn: Slot
    mlp: Slot

    @classmethod
    def parse(cls, vector: Tensor) -> "Embedding":
        """Read `(6 * width,)`: a channel's six numbers are neighbours, those of a slot too."""
        slots = rearrange(vector.float(), "(width slot role) -> slot role width", slot=2, role=3)
        return cls(*(Slot(*slot) for slot in slots))


class TimeEmbedding(nn.Module):
    """Turn timesteps into embeddings."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(SINUSOIDS, width)
        self.proj_hid = nn.Linear(width, width)
        self.proj_out = nn.Linear(width, outputs)

    def forward(self, timesteps: Tensor) -> Tensor:
        """Return `(n, outputs)` for `(n,)` timesteps in [0, 1000]."""
        hidden = sinusoids(timesteps).to(self.proj_in.weight.dtype)
        return self.proj_out(silu(self.proj_hid(silu(self.proj_in(hidden)))))


def sinusoids(timesteps: Tensor) -> Tensor:
    """Return `(n, 256)` float32: sines, then cosines, of frequencies from 1 down to 1/10000."""
    steps = torch.arange(SINUSOIDS // 2, dtype=torch.float32, device=timesteps.device)
    angles = timesteps.float()[:, None] * 10000 ** (-steps / (SINUSOIDS // 2))
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class Modulation(nn.Module):
    """A block's own shifts, scales and gates."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn_shift, self.attn_scale, self.attn_gate = _vectors(width, 3)
        self.mlp_shift, self.mlp_scale, self.mlp_gate = _vectors(width, 3)

    def forward(self, embedding: Embedding) -> Embedding:
        """Add them to the timestep's."""
        attn, mlp = embedding
        return Embedding(
            attn=Slot(
                attn.shift + self.attn_shift,
                attn.scale + self.attn_scale,
                attn.gate + self.attn_gate,
            ),
            mlp=Slot(
                mlp.shift + self.mlp_shift,
                mlp.scale + self.mlp_scale,
                mlp.gate + self.mlp_gate,
            ),
        )


class OutputModulation(nn.Module):
    """The 3B's last shift and scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out_shift, self.out_scale = _vectors(width, 2)

    def forward(self, tokens: Tensor, embedding: Embedding) -> Tensor:
        """Shift and scale `(tokens, width)`.

        The timestep's part is that of attention: upstream looks its slot up in a cache, under a key
        that attention has filled before, and every published result was made so.
        """
        slot = embedding.attn
        return Slot(slot.shift + self.out_shift, slot.scale + self.out_scale, slot.gate).enter(
            tokens
        )


def _vectors(width: int, count: int) -> list[nn.Parameter]:
    return [nn.Parameter(torch.empty(width)) for _ in range(count)]
