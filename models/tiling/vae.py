"""Runs an autoencoder over a picture of any size in bounded memory, with the untiled result.

All tiles go through a layer before the next layer begins. Between layers the whole picture is *at
rest*, on the device or in the host's memory; a tile is read from there with as many pixels around
it as the layer reaches, and only its core is written back. So nothing is blended and nothing is
computed twice; group norms and attention see the whole picture. Only the order of float sums
depends on the tile size.
"""

from collections.abc import Callable, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor

from models.tiling.boxes import Span, part
from models.tiling.moments import Moments, measure, normalise, pool
from models.tiling.steps import Local, Push, Segment, Step, Whole, fuse


class Floor(NamedTuple):
    """Where the work is done, and in what portions.

    Attributes:
        device: Of the network; tiles are brought there.
        rest: Where the whole picture lies between layers.
        tile: The longest side of a tile's core, in pixels of the layer at hand, where it has most.
        tick: Called before each tile; may raise to stop.
    """

    device: torch.device
    rest: torch.device
    tile: int
    tick: Callable[[], None]


def run(steps: Sequence[Step], picture: Tensor, floor: Floor) -> Tensor:
    """Take a picture, or a latent, through the steps.

    Args:
        steps: See `models.tiling.steps`; each `Push` has its `Add`.
        picture: `(b, c, h, w)` in the network's dtype, on any device; left as it is.
        floor: Where, and how large the tiles are.

    Returns:
        `(b, c', h', w')` on `floor.rest`.
    """
    resting = picture
    kept: list[Tensor] = []
    moments: Moments | None = None
    for stage in fuse(steps):
        match stage:
            case Push():
                kept.append(resting)
            case Whole():
                floor.tick()
                resting = stage.module(resting.to(floor.device)).to(floor.rest)
            case Segment():
                saved = kept.pop() if stage.add else None
                spare = None if saved is picture or saved is resting else saved
                resting, moments = _advance(stage, resting, saved, spare, moments, floor)
    return resting


def _advance(
    segment: Segment,
    resting: Tensor,
    saved: Tensor | None,
    spare: Tensor | None,
    moments: Moments | None,
    floor: Floor,
) -> tuple[Tensor, Moments | None]:
    """Take every tile through a segment.

    Args:
        segment: The steps.
        resting: What they start from.
        saved: What `segment.add` adds.
        spare: `saved`, if the result may be written over it: each of its tiles is read only once,
            just before the same tile of the result is written.
        moments: What `segment.norm` normalises with.
        floor: Where, and how large the tiles are.

    Returns:
        What they end with, at rest, and its statistics if the segment measures any.
    """
    rows, columns = (_traces(segment.layers, length, floor.tile) for length in resting.shape[2:])
    result: Tensor | None = None
    found: list[Moments] = []
    for down, across in product(rows, columns):
        floor.tick()
        tile = _enter(segment, _bring(resting, down[0], across[0], floor.device), moments)
        tile = _through(segment.layers, tile, down, across)
        if segment.add:
            assert saved is not None, "every Add has its Push"
            added = _cut(saved, down[-1], across[-1]).to(floor.device)
            tile = tile + (segment.add.shortcut(added) if segment.add.shortcut else added)
        if segment.measure:
            found.append(measure(tile, segment.measure))
        if len(rows) == len(columns) == 1:
            result = tile.to(floor.rest)
            break
        if result is None:
            result = _room(tile, rows[-1][-1].stop, columns[-1][-1].stop, spare, floor.rest)
        _cut(result, down[-1], across[-1]).copy_(tile)
    assert result is not None, "a picture has at least one tile"
    return result, pool(found) if found else None


def _enter(segment: Segment, tile: Tensor, moments: Moments | None) -> Tensor:
    """Apply a segment's norm, if it has one."""
    if segment.norm is None:
        return tile
    assert moments is not None, "fuse() has the segment before a norm measure"
    tile = normalise(tile, segment.norm.norm, moments)
    return segment.norm.activation(tile) if segment.norm.activation else tile


def _through(
    layers: Sequence[Local], tile: Tensor, down: Sequence[Span], across: Sequence[Span]
) -> Tensor:
    """Take a tile through layers, and cut off after each what its padding has spoilt."""
    for index, layer in enumerate(layers):
        made = [_made(layer, spans[index]) for spans in (down, across)]
        rows, columns = (
            spans[index + 1].within(made[axis]) for axis, spans in enumerate((down, across))
        )
        tile = layer.module(tile)[..., rows, columns]
    return tile


def _traces(layers: Sequence[Local], length: int, tile: int) -> list[list[Span]]:
    """Part one axis of a segment's result, and trace each part back to what it is made from.

    Returns:
        For each part, as for `_trace`.
    """
    lengths = [length]
    for layer in layers:
        lengths.append(lengths[-1] * layer.up // layer.down)
    most = max(tile * lengths[-1] // max(lengths), 1)  # so that no layer is given more than a tile
    return [_trace(layers, lengths, span) for span in part(lengths[-1], most=most)]


def _trace(layers: Sequence[Local], lengths: Sequence[int], wanted: Span) -> list[Span]:
    """Return what each layer must be given along one axis, and at last `wanted`."""
    spans = [wanted]
    for layer, length in zip(reversed(layers), reversed(lengths[:-1]), strict=True):
        spans.insert(0, _given(layer, spans[0], length))
    return spans


def _given(layer: Local, wanted: Span, length: int) -> Span:
    """Return what a layer must be given for a part of its output; ends at the picture's borders."""
    start = (wanted.start // layer.up - layer.reach) * layer.down
    stop = (-(-wanted.stop // layer.up) + layer.reach) * layer.down
    return Span(max(start, 0), min(stop, length))


def _made(layer: Local, given: Span) -> Span:
    """Return what a layer makes of a part of its input."""
    return Span(given.start * layer.up // layer.down, given.stop * layer.up // layer.down)


def _cut(whole: Tensor, rows: Span, columns: Span) -> Tensor:
    return whole[..., slice(*rows), slice(*columns)]


def _bring(whole: Tensor, rows: Span, columns: Span, device: torch.device) -> Tensor:
    """Copy a part of a picture to the device, in the picture's own memory layout."""
    piece = _cut(whole, rows, columns)
    return piece.to(device).contiguous(memory_format=_layout(piece))


def _room(
    tile: Tensor, height: int, width: int, spare: Tensor | None, rest: torch.device
) -> Tensor:
    """Return where to write a result of whose tiles the first is given."""
    batch, channels = tile.shape[:2]
    if spare is not None and spare.shape[1] >= channels:
        return spare[:, :channels]
    return torch.empty(
        (batch, channels, height, width),
        dtype=tile.dtype,
        device=rest,
        memory_format=_layout(tile),
    )


def _layout(tile: Tensor) -> torch.memory_format:
    """Return a tile's memory layout; it may be cut out of a larger tensor, so strides tell."""
    return torch.channels_last if tile.stride(1) == 1 else torch.contiguous_format
