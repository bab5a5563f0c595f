"""Attention window by window, as one would write it first; what the grouped one must equal."""

import torch
from torch import Tensor

from models.seedvr2.blocks import Attention, Tokens
from models.seedvr2.rotary import Rotary, Turns
from models.seedvr2.windows import Grid, window_boxes


def attend_by_window(
    attention: Attention, tokens: Tokens, grid: Grid, rotary: Rotary, *, shifted: bool
) -> Tokens:
    """Return what each token saw, by a loop over windows and a written-out softmax."""
    heads = _split(attention, attention.proj_qkv.pixels(tokens.pixels))
    query, key, value = heads
    query, key = attention.norm_q.pixels(query), attention.norm_k.pixels(key)
    text_query, text_key, text_value = _split(attention, attention.proj_qkv.text(tokens.text))
    text_query, text_key = attention.norm_q.text(text_query), attention.norm_k.text(text_key)
    angles = rotary.text_angles()
    if angles is not None:
        text_query, text_key = Turns.by(angles).apply(text_query), Turns.by(angles).apply(text_key)
    positions = torch.arange(grid.rows * grid.columns).view(*grid)
    seen, texts = torch.zeros_like(query), []
    for box in window_boxes(grid, shifted=shifted):
        places, turns = positions[box].flatten(), Turns.by(rotary.window_angles(box.shape))
        out = _softmax_attention(
            torch.cat([turns.apply(query[places]), text_query]),
            torch.cat([turns.apply(key[places]), text_key]),
            torch.cat([value[places], text_value]),
        )
        seen[places] = out[: len(places)]
        texts.append(out[len(places) :])
    return Tokens(
        attention.proj_out.pixels(seen.flatten(1)),
        attention.proj_out.text(torch.stack(texts).mean(0).flatten(1)),
    )


def _split(attention: Attention, projected: Tensor) -> list[Tensor]:
    """Return queries, keys and values, `(tokens, heads, channels)` each."""
    return [part.unflatten(1, (-1, attention.head_width)) for part in projected.chunk(3, dim=1)]


def _softmax_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    scores = torch.einsum("qhc,khc->hqk", query, key) / query.shape[-1] ** 0.5
    return torch.einsum("hqk,khc->qhc", scores.softmax(-1), value)
