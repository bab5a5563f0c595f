"""A transformer's block: pixels look at their window and at text, then each token for itself.

Upstream: `models/dit_v2/nablocks/mmsr_block.py` and `models/dit/nablocks/mmsr_block.py`.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from einops import rearrange, reduce
from torch import Tensor, nn
from torch.nn.functional import gelu, rms_norm, scaled_dot_product_attention, silu

from models.seedvr2.config import DitConfig, Flavour
from models.seedvr2.layout import Layout
from models.seedvr2.modulation import Embedding, Modulation

EPSILON = 1e-5
"""Of every root mean square normalisation."""

TOKENS_AT_ONCE = 2**14
"""Tokens (4 megapixels) that pass an MLP or attention at once; bounds what lives in between."""


class Streams(nn.Module):
    """A module for pixels (`vid`) and one for text (`txt`), or one for both (`all`)."""

    def __init__(
        self, make: Callable[[], nn.Module], *, shared: bool, pixels_only: bool = False
    ) -> None:
        super().__init__()
        names = ("all",) if shared else ("vid",) if pixels_only else ("vid", "txt")
        for name in names:
            self.add_module(name, make())
        self.shared = shared

    @property
    def pixels(self) -> nn.Module:
        """The one that pixels go through."""
        return self.get_submodule("all" if self.shared else "vid")

    @property
    def text(self) -> nn.Module:
        """The one that text goes through."""
        return self.get_submodule("all" if self.shared else "txt")


class Tokens(NamedTuple):
    """The two streams: `(tokens, width)` each."""

    pixels: Tensor
    text: Tensor


class Block(nn.Module):
    """Attention, then an MLP, each beside a shortcut."""

    def __init__(self, config: DitConfig, *, layer: int) -> None:
        super().__init__()
        shared = layer >= config.separate_layers
        self.last = layer == config.layers - 1
        # The 3B's last block does not modulate text, which pixels still look at.
        self.pixels_only = self.last and config.flavour is Flavour.B3
        streams = partial(Streams, shared=shared, pixels_only=self.pixels_only)
        mlp = GatedMlp if config.flavour is Flavour.B3 else Mlp
        self.attn = Attention(config, shared=shared)
        self.mlp = streams(partial(mlp, config.width, config.hidden))
        self.ada = streams(partial(Modulation, config.width))

    def forward(self, tokens: Tokens, embedding: Embedding, layout: Layout) -> Tokens:
        """Return both streams; of the last block the text is as it came, as nobody reads it."""
        pixels, text = self.modulations(embedding)
        seen = self.attn(attention_input(tokens, pixels, text), layout, answer_text=not self.last)
        out = tokens.pixels + pixels.attn.leave(seen.pixels)
        out = _in_parts(partial(_add_mlp, mlp=self.mlp.pixels, embedding=pixels), out)
        if self.last or text is None:
            return Tokens(out, tokens.text)
        out_text = tokens.text + text.attn.leave(seen.text)
        return Tokens(out, _add_mlp(out_text, mlp=self.mlp.text, embedding=text))

    def modulations(self, embedding: Embedding) -> tuple[Embedding, Embedding | None]:
        """Return what the timestep says to pixels and to text; None where text is left as it is."""
        pixels = self.ada.pixels(embedding)
        if self.pixels_only:
            return pixels, None
        return pixels, pixels if self.ada.shared else self.ada.text(embedding)


def attention_input(tokens: Tokens, pixels: Embedding, text: Embedding | None) -> Tokens:
    """Return both streams as attention gets them: normalised, and modulated where they are."""
    normal = _normalise(tokens.text)
    return Tokens(
        pixels.attn.enter(_normalise(tokens.pixels)),
        normal if text is None else text.attn.enter(normal),
    )


def _add_mlp(tokens: Tensor, *, mlp: nn.Module, embedding: Embedding) -> Tensor:
    return tokens + embedding.mlp.leave(mlp(embedding.mlp.enter(_normalise(tokens))))


def _normalise(tokens: Tensor) -> Tensor:
    return rms_norm(tokens, tokens.shape[-1:], eps=EPSILON)


def _in_parts(function: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    """Apply what treats each token for itself to bounded numbers of them."""
    if len(tokens) <= TOKENS_AT_ONCE:
        return function(tokens)
    return torch.cat([function(part) for part in tokens.split(TOKENS_AT_ONCE)])


class Attention(nn.Module):
    """Joint attention of each window's pixels and all of the text."""

    def __init__(self, config: DitConfig, *, shared: bool) -> None:
        super().__init__()
        width, inner = config.width, config.heads * config.head_width
        head_norm = partial(nn.RMSNorm, config.head_width, eps=EPSILON)
        self.proj_qkv = Streams(partial(nn.Linear, width, 3 * inner, bias=False), shared=shared)
        self.proj_out = Streams(partial(nn.Linear, inner, width), shared=shared)
        self.norm_q = Streams(head_norm, shared=shared)
        self.norm_k = Streams(head_norm, shared=shared)
        self.head_width = config.head_width

    def forward(self, tokens: Tokens, layout: Layout, *, answer_text: bool) -> Tokens:
        """Return what each token saw.

        Args:
            tokens: Normalised and modulated.
            layout: The windows.
            answer_text: Whether text asks too. What it saw is the plain mean over all windows;
                if it does not ask, its part of the result means nothing.
        """
        text = self._text_heads(tokens.text, layout)
        heads = self._split(self.proj_qkv.pixels(tokens.pixels))
        seen = torch.empty_like(heads[:, 0])  # (tokens, heads, channels)
        seen_text = torch.zeros_like(text[:, 0], dtype=torch.float32)
        for group in layout.groups:
            window = group.tokens.shape[1]
            for places in group.tokens.split(max(1, TOKENS_AT_ONCE // window)):
                query, key, value = heads[places].unbind(2)  # (windows, tokens, heads, channels)
                query = group.turns.apply(self.norm_q.pixels(query))
                key = group.turns.apply(self.norm_k.pixels(key))
                out = _attend(query, key, value, text, answer_text=answer_text)
                seen[places] = out[:, :window]
                if answer_text:
                    seen_text += reduce(out[:, window:].float(), "n t h c -> t h c", "sum")
        mean_text = (seen_text / layout.windows).to(text.dtype)
        return Tokens(
            self.proj_out.pixels(seen.flatten(1)), self.proj_out.text(mean_text.flatten(1))
        )

    def _text_heads(self, text: Tensor, layout: Layout) -> Tensor:
        """Return `(tokens, 3, heads, channels)`: queries, keys and values, the same everywhere."""
        query, key, value = self._split(self.proj_qkv.text(text)).unbind(1)
        query, key = self.norm_q.text(query), self.norm_k.text(key)
        if layout.text_turns is not None:
            query, key = layout.text_turns.apply(query), layout.text_turns.apply(key)
        return torch.stack([query, key, value], dim=1)

    def _split(self, projected: Tensor) -> Tensor:
        return rearrange(projected, "t (qkv h c) -> t qkv h c", qkv=3, c=self.head_width)


def _attend(
    query: Tensor, key: Tensor, value: Tensor, text: Tensor, *, answer_text: bool
) -> Tensor:
    """Let `(windows, tokens, heads, channels)` look at their windows and at all of the text.

    Returns:
        What the pixels saw, and after them in each window what the text saw, if it asks.
    """
    windows = query.shape[0]
    text_query, text_key, text_value = (
        part.expand(windows, *part.shape) for part in text.unbind(1)
    )
    if answer_text:
        query = torch.cat([query, text_query], dim=1)
    seen = scaled_dot_product_attention(
        query.transpose(1, 2),
        torch.cat([key, text_key], dim=1).transpose(1, 2),
        torch.cat([value, text_value], dim=1).transpose(1, 2),
    )
    return seen.transpose(1, 2)


class Mlp(nn.Module):
    """The 7B's: GELU with biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(width, hidden)
        self.proj_out = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        return self.proj_out(gelu(self.proj_in(tokens), approximate="tanh"))


class GatedMlp(nn.Module):
    """The 3B's: SwiGLU without biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.proj_in_gate = nn.Linear(width, hidden, bias=False)
        self.proj_out = nn.Linear(hidden, width, bias=False)
        self.proj_in = nn.Linear(width, hidden, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return tokens of the same shape."""
        return self.proj_out(silu(self.proj_in_gate(tokens)) * self.proj_in(tokens))
