"""From chunks of tokens to what a UNet is conditioned on."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from models.diffusion.clip import ClipText
from models.diffusion.prompts import Chunk


def embed(
    tower: ClipText,
    chunks: Sequence[Chunk],
    vectors: Mapping[str, Tensor],
    *,
    skip: int = 0,
) -> Tensor:
    """Encode a prompt, each chunk by itself, and weigh its tokens.

    A chunk's mean over all tokens and channels is the same after weighing as before. It can be near
    nothing, so all of that is float32.

    Args:
        tower: The text encoder.
        chunks: At least one.
        vectors: Of the textual inversions, `(n, width)` each, by name.
        skip: Leave out so many of the encoder's last blocks; the final norm is applied anyway.

    Returns:
        `(1, chunks * 77, width)` float32, on the encoder's device.
    """
    return torch.cat([_chunk(tower, chunk, vectors, skip) for chunk in chunks], dim=1)


def _chunk(tower: ClipText, chunk: Chunk, vectors: Mapping[str, Tensor], skip: int) -> Tensor:
    device = tower.final_layer_norm.weight.device
    embedded = tower.embed(torch.tensor([chunk.tokens], device=device))
    for offset, name in chunk.placements:
        first = offset + 1  # behind the start
        room = embedded.shape[1] - first
        embedded[0, first : first + len(vectors[name])] = vectors[name][:room].to(embedded)
    encoded = tower(embedded, skip=skip).float()
    weighed = encoded * torch.tensor(chunk.weights, device=device)[:, None]
    return weighed * (encoded.mean() / weighed.mean())
