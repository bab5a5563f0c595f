"""The encoder of T5 1.1 (Raffel et al. 2020; Shazeer 2020), which reads long prompts.

Attributes are named as in checkpoints of Hugging Face's `T5EncoderModel`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from models.checkpoint.open import Shape
from models.errors import WeightsError

FARTHEST = 128
"""Tokens; all that are farther away share a bias. Of all published encoders, no tensor tells it."""
EPSILON = 1e-6
"""Of all norms; no tensor tells it."""
SPARE = (r"encoder\.embed_tokens\.weight",)
"""Names of tensors that some files hold a second time."""


@dataclass(frozen=True, kw_only=True)
class T5Config:
    """The sizes of the encoder.

    Attributes:
        words: In the vocabulary.
        width: Channels of a token.
        inner: Channels within a block's perceptron.
        layers: Blocks.
        heads: Of attention.
        attended: Channels of all heads together.
        buckets: Of distances between tokens, each with a bias of its own.
    """

    words: int = 32128
    width: int = 4096
    inner: int = 10240
    layers: int = 24
    heads: int = 64
    attended: int = 4096
    buckets: int = 32


def read_t5_config(shapes: Mapping[str, Shape]) -> T5Config:
    """Read the sizes of a checkpoint.

    Raises:
        WeightsError: A tensor that tells a size is missing.
    """
    block = "encoder.block.0.layer."
    try:
        words, width = shapes["shared.weight"]
        buckets, heads = shapes[f"{block}0.SelfAttention.relative_attention_bias.weight"]
        return T5Config(
            words=words,
            width=width,
            inner=shapes[f"{block}1.DenseReluDense.wi_0.weight"][0],
            layers=len({name.split(".")[2] for name in shapes if name.startswith("encoder.block")}),
            heads=heads,
            attended=shapes[f"{block}0.SelfAttention.q.weight"][0],
            buckets=buckets,
        )
    except KeyError as exc:
        raise WeightsError(f"this is no encoder of T5: {exc} is missing") from exc


class Norm(nn.Module):
    """Divides by the root of the mean square, in float32: squares overflow half precision."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map `(b, n, width)` to the same shape and dtype."""
        wide = tokens.float()
        scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + EPSILON)
        return scaled.to(tokens.dtype) * self.weight


class SelfAttention(nn.Module):
    """Attention whose scores are not scaled, with a bias that depends on distance."""

    def __init__(self, config: T5Config, *, biased: bool) -> None:
        super().__init__()
        self.heads = config.heads
        self.q = nn.Linear(config.width, config.attended, bias=False)
        self.k = nn.Linear(config.width, config.attended, bias=False)
        self.v = nn.Linear(config.width, config.attended, bias=False)
        self.o = nn.Linear(config.attended, config.width, bias=False)
        if biased:
            self.relative_attention_bias = nn.Embedding(config.buckets, config.heads)

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """Map `(b, n, width)` to the same shape; `bias` is `(1, heads, n, n)`."""
        query, key, value = (
            project(tokens).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q, self.k, self.v)
        )
        seen = scaled_dot_product_attention(query, key, value, attn_mask=bias, scale=1.0)
        return self.o(seen.transpose(1, 2).flatten(2))

    def biases(self, length: int) -> Tensor:
        """Return `(1, heads, length, length)`; of the first block only, for all of them."""
        table = self.relative_attention_bias
        places = torch.arange(length, device=table.weight.device)
        found = table(buckets(places - places[:, None], table.num_embeddings))
        return found.permute(2, 0, 1)[None]


class GatedPerceptron(nn.Module):
    """Two layers, the inner one gated."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.wi_0 = nn.Linear(config.width, config.inner, bias=False)
        self.wi_1 = nn.Linear(config.width, config.inner, bias=False)
        self.wo = nn.Linear(config.inner, config.width, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map `(b, n, width)` to the same shape."""
        return self.wo(gelu(self.wi_0(tokens), approximate="tanh") * self.wi_1(tokens))


class Attending(nn.Module):
    """Attention behind a norm."""

    def __init__(self, config: T5Config, *, biased: bool) -> None:
        super().__init__()
        self.layer_norm = Norm(config.width)
        self.SelfAttention = SelfAttention(config, biased=biased)

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """Map `(b, n, width)` to the same shape."""
        return self.SelfAttention(self.layer_norm(tokens), bias)


class Thinking(nn.Module):
    """The perceptron behind a norm."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        self.layer_norm = Norm(config.width)
        self.DenseReluDense = GatedPerceptron(config)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map `(b, n, width)` to the same shape."""
        return self.DenseReluDense(self.layer_norm(tokens))


class Block(nn.Module):
    """Attention and perceptron, each beside an identity."""

    def __init__(self, config: T5Config, *, biased: bool) -> None:
        super().__init__()
        self.layer = nn.ModuleList((Attending(config, biased=biased), Thinking(config)))

    def forward(self, tokens: Tensor, bias: Tensor) -> Tensor:
        """Map `(b, n, width)` to the same shape."""
        attend, think = self.layer
        tokens = tokens + attend(tokens, bias)
        return tokens + think(tokens)


class Blocks(nn.Module):
    """All blocks, and the norm behind them."""

    def __init__(self, config: T5Config) -> None:
        super().__init__()
        blocks = (Block(config, biased=number == 0) for number in range(config.layers))
        self.block = nn.ModuleList(blocks)
        self.final_layer_norm = Norm(config.width)

    @property
    def biased(self) -> SelfAttention:
        """The attention that holds the biases of all blocks."""
        found = self.get_submodule("block.0.layer.0.SelfAttention")
        assert isinstance(found, SelfAttention), "Block made it"
        return found


class T5Encoder(nn.Module):
    """The encoder; what fills a prompt is seen like any other token."""

    def __init__(self, config: T5Config) -> None:
        """Build it with unset weights; on the meta device it takes no memory."""
        super().__init__()
        self.shared = nn.Embedding(config.words, config.width)
        self.encoder = Blocks(config)

    def forward(self, texts: Sequence[Tensor]) -> list[Tensor]:
        """Encode texts of one length, each block all of them before the next one is called.

        Args:
            texts: `(b, n)` of words' numbers each.

        Returns:
            `(b, n, width)` for each.
        """
        read = [self.shared(ids) for ids in texts]
        # Blocks may wait in the host's memory until they are called.
        bias = self.encoder.biased.biases(texts[0].shape[1]).to(read[0])
        for block in self.encoder.block:
            read = [block(tokens, bias) for tokens in read]
        return [self.encoder.final_layer_norm(tokens) for tokens in read]


def buckets(distances: Tensor, count: int) -> Tensor:
    """Number distances: half of the buckets for each direction, half of those exact.

    Args:
        distances: Of a key from a query, in tokens, of any shape.
        count: Of buckets.
    """
    half, exact = count // 2, count // 4
    far = distances.abs()
    ratio = (far.clamp(min=1).float() / exact).log() / math.log(FARTHEST / exact)
    coarse = (exact + (ratio * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(far < exact, far, coarse) + half * (distances > 0)
