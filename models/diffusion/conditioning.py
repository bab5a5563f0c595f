"""From chunks of tokens to what a UNet is conditioned on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from models.diffusion.clip import ClipText
from models.diffusion.prompts import END, Chunk


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What a UNet is told of prompts.

    Attributes:
        tokens: `(b, n, width)`.
        pooled: `(b, width)` of each prompt as a whole; None where the UNet is told none.
    """

    tokens: Tensor
    pooled: Tensor | None = None

    def times(self, count: int) -> "Condition":
        """Return that of a single prompt for a batch of so many."""
        pooled = None if self.pooled is None else self.pooled.expand(count, -1)
        return Condition(tokens=self.tokens.expand(count, -1, -1), pooled=pooled)

    def beside(self, other: "Condition") -> "Condition":
        """Return both in one batch; they have as many tokens."""
        whole = (
            torch.cat([self.pooled, other.pooled])
            if self.pooled is not None and other.pooled is not None
            else None
        )
        return Condition(tokens=torch.cat([self.tokens, other.tokens]), pooled=whole)


def embed(
    tower: ClipText,
    chunks: Sequence[Chunk],
    vectors: Mapping[str, Tensor],
    *,
    skip: int = 0,
    normalise: bool = True,
) -> Tensor:
    """Encode a prompt, each chunk by itself, and weigh its tokens.

    A chunk's mean over all tokens and channels is the same after weighing as before. It can be near
    nothing, so all of that is float32.

    Args:
        tower: The text encoder.
        chunks: At least one.
        vectors: Of the textual inversions, `(n, width)` each, by name.
        skip: Leave out so many of the encoder's last blocks.
        normalise: Apply the encoder's final norm.

    Returns:
        `(1, chunks * 77, width)` float32, on the encoder's device.
    """
    encoded = [
        _weighed(tower(_embedded(tower, chunk, vectors), skip=skip, normalise=normalise), chunk)
        for chunk in chunks
    ]
    return torch.cat(encoded, dim=1)


def summarise(
    tower: ClipText, projection: nn.Linear, chunk: Chunk, vectors: Mapping[str, Tensor]
) -> Tensor:
    """Return what a prompt's first chunk says as a whole, `(1, width)` float32.

    It is the projected reading of the token that ends the text, without any weights.
    """
    read: Tensor = tower(_embedded(tower, chunk, vectors))
    whole: Tensor = projection(read[:, chunk.tokens.index(END)])
    return whole.float()


def filled_with(chunk: Chunk, token: int) -> Chunk:
    """Return a chunk that is filled up by another token, behind the one that ends the text."""
    end = chunk.tokens.index(END)
    rest = len(chunk.tokens) - end - 1
    return replace(chunk, tokens=(*chunk.tokens[: end + 1], *[token] * rest))


def _embedded(tower: ClipText, chunk: Chunk, vectors: Mapping[str, Tensor]) -> Tensor:
    device = tower.final_layer_norm.weight.device
    embedded = tower.embed(torch.tensor([chunk.tokens], device=device))
    for offset, name in chunk.placements:
        first = offset + 1  # behind the start
        room = embedded.shape[1] - first
        embedded[0, first : first + len(vectors[name])] = vectors[name][:room].to(embedded)
    return embedded


def _weighed(encoded: Tensor, chunk: Chunk) -> Tensor:
    encoded = encoded.float()
    weighed = encoded * torch.tensor(chunk.weights, device=encoded.device)[:, None]
    return weighed * (encoded.mean() / weighed.mean())
