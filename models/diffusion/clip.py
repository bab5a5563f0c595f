"""CLIP's two towers (Radford et al. 2021): texts for Stable Diffusion, pictures for its checker.

Attributes are named as in checkpoints of Hugging Face's `CLIPModel`, without the tower's own prefix
(`text_model.`, `vision_model.`).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from models.checkpoint.open import Shape

HEAD_WIDTH = 64
"""Channels of an attention head in all published towers; no tensor tells it."""


@dataclass(frozen=True, kw_only=True)
class TowerConfig:
    """The sizes of a tower.

    Attributes:
        width: Channels of a token.
        inner: Channels within a block's perceptron.
        layers: Blocks.
        heads: Of attention.
        quick: The perceptron's activation is x * sigmoid(1.702 x), as OpenAI has it; else GELU.
    """

    width: int = 768
    inner: int = 3072
    layers: int = 12
    heads: int = 12
    quick: bool = True


def read_tower(
    shapes: Mapping[str, Shape], prefix: str, *, heads: int | None = None, quick: bool = True
) -> TowerConfig:
    """Read the sizes of a tower from a checkpoint.

    Args:
        shapes: Of all tensors, by name.
        prefix: Of the tower's names.
        heads: Of attention; by default as many as there are times 64 channels.
        quick: See `TowerConfig`.

    Raises:
        KeyError: No tower is there.
    """
    layers = f"{prefix}encoder.layers."
    inner, width = shapes[f"{layers}0.mlp.fc1.weight"]
    numbers = {name[len(layers) :].split(".")[0] for name in shapes if name.startswith(layers)}
    return TowerConfig(
        width=width,
        inner=inner,
        layers=len(numbers),
        heads=heads or max(1, width // HEAD_WIDTH),
        quick=quick,
    )


class Attention(nn.Module):
    """Self-attention."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q_proj = nn.Linear(config.width, config.width)
        self.k_proj = nn.Linear(config.width, config.width)
        self.v_proj = nn.Linear(config.width, config.width)
        self.out_proj = nn.Linear(config.width, config.width)

    def forward(self, tokens: Tensor, *, causal: bool) -> Tensor:
        """Map `(b, n, width)` to the same shape; if `causal`, by what stands before each token."""
        query, key, value = (
            project(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = scaled_dot_product_attention(query, key, value, is_causal=causal)
        return self.out_proj(seen.transpose(1, 2).flatten(2))


class Perceptron(nn.Module):
    """Two layers and what is between them."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.quick = config.quick
        self.fc1 = nn.Linear(config.width, config.inner)
        self.fc2 = nn.Linear(config.inner, config.width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map `(b, n, width)` to the same shape."""
        inner = self.fc1(tokens)
        active = inner * torch.sigmoid(1.702 * inner) if self.quick else nn.functional.gelu(inner)
        return self.fc2(active)


class Layer(nn.Module):
    """A block: attention and perceptron, each behind a norm and beside an identity."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.layer_norm1 = nn.LayerNorm(config.width)
        self.mlp = Perceptron(config)
        self.layer_norm2 = nn.LayerNorm(config.width)

    def forward(self, tokens: Tensor, *, causal: bool) -> Tensor:
        """Map `(b, n, width)` to the same shape."""
        tokens = tokens + self.self_attn(self.layer_norm1(tokens), causal=causal)
        return tokens + self.mlp(self.layer_norm2(tokens))


class Encoder(nn.Module):
    """The blocks of a tower."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))

    def forward(self, tokens: Tensor, *, causal: bool, skip: int = 0) -> Tensor:
        """Go through all blocks but the last `skip`."""
        for layer in self.layers[: len(self.layers) - skip]:
            tokens = layer(tokens, causal=causal)
        return tokens


class TextEmbeddings(nn.Module):
    """A vector for each token, and one for each place."""

    def __init__(self, width: int, *, words: int, places: int) -> None:
        super().__init__()
        self.token_embedding = nn.Embedding(words, width)
        self.position_embedding = nn.Embedding(places, width)


class ClipText(nn.Module):
    """The text tower."""

    def __init__(self, config: TowerConfig, *, words: int = 49408, places: int = 77) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(config.width, words=words, places=places)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.width)

    @property
    def width(self) -> int:
        """Channels of a token."""
        return self.embeddings.token_embedding.embedding_dim

    def embed(self, tokens: Tensor) -> Tensor:
        """Return `(b, n, width)`: the vectors of `(b, n)` tokens, without their places."""
        return self.embeddings.token_embedding(tokens)

    def placed(self, vectors: Tensor) -> Tensor:
        """Add the vectors of their places to those of tokens: what the first block is given."""
        return vectors + self.embeddings.position_embedding.weight[: vectors.shape[1]]

    def forward(self, vectors: Tensor, *, skip: int = 0, normalise: bool = True) -> Tensor:
        """Encode texts.

        Args:
            vectors: `(b, n, width)` from `embed`, or with others put in.
            skip: Leave out so many of the last blocks.
            normalise: Apply the final norm.

        Returns:
            `(b, n, width)`.
        """
        encoded = self.encoder(self.placed(vectors), causal=True, skip=skip)
        return self.final_layer_norm(encoded) if normalise else encoded


class VisionEmbeddings(nn.Module):
    """A vector for each patch of a picture, and one more for the whole."""

    def __init__(self, width: int, *, patch: int, patches: int) -> None:
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.position_embedding = nn.Embedding(patches + 1, width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map `(b, 3, side, side)` to `(b, patches + 1, width)`, the whole's vector first."""
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        whole = self.class_embedding.expand(len(pixels), 1, -1)
        return torch.cat([whole, patches], dim=1) + self.position_embedding.weight


class ClipVision(nn.Module):
    """The vision tower."""

    def __init__(self, config: TowerConfig, *, patch: int = 14, patches: int = 256) -> None:
        super().__init__()
        self.embeddings = VisionEmbeddings(config.width, patch=patch, patches=patches)
        self.pre_layrnorm = nn.LayerNorm(config.width)  # so spelled in all checkpoints
        self.encoder = Encoder(config)
        self.post_layernorm = nn.LayerNorm(config.width)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map `(b, 3, side, side)`, normalised, to the whole's vector `(b, width)`."""
        tokens = self.encoder(self.pre_layrnorm(self.embeddings(pixels)), causal=False)
        return self.post_layernorm(tokens[:, 0])
