"""How one picture is restored: what a request asks for, in the units of the core."""

from dataclasses import dataclass
from math import isqrt

from models.ccsr.schema import CELL, MULTIPLE, CcsrRequest, ColorFix, TileDiffusion

PIXELS_AT_ONCE = 2 * 1024**2
"""Of tiles that go through the networks as one batch: two of the default size. A constant, since
kernels round differently by the shape of a batch."""

LEAST_TILE = 64
"""Pixels; however often tiles are halved, smaller ones spend more on context than on themselves."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What the core is told.

    Attributes:
        steps: See `models.ccsr.sampler.Walk.plan`.
        t_max: Likewise.
        t_min: Likewise.
        tile_diffusion: How the latent is parted.
        tile_size: The side of a part in pixels, a multiple of 64.
        tile_stride: From each to the next, a multiple of 8.
        tiles_at_once: How many go through the networks as one batch.
        encoder_tile: The longest side of what is encoded at once, in pixels.
        decoder_tile: The longest side of what is decoded at once, in pixels of the result.
        color_fix: How the result keeps the colours of its source.
    """

    steps: int
    t_max: float
    t_min: float
    tile_diffusion: TileDiffusion
    tile_size: int
    tile_stride: int
    tiles_at_once: int
    encoder_tile: int
    decoder_tile: int
    color_fix: ColorFix


def plan(
    request: CcsrRequest, *, longest_side: int, divisor: int = 1, tiled_encoder: bool = True
) -> Recipe:
    """Turn a request into a recipe.

    After a lack of memory, batches become smaller first, which shows in no more than rounding, and
    then tiles.

    Args:
        request: What is asked for.
        longest_side: Of the picture at the size that it is worked on, in pixels.
        divisor: 1, 2, 4...: by how much less memory has to do.
        tiled_encoder: Whether `tile_vae` is for the encoder as well.
    """
    area = request.tile_diffusion_size**2
    room = max(PIXELS_AT_ONCE, area) // divisor
    size = request.tile_diffusion_size if area <= room else _multiple(isqrt(room), MULTIPLE)
    stride = request.tile_diffusion_stride * size // request.tile_diffusion_size
    encoder, decoder = longest_side, longest_side
    if request.tile_vae:
        encoder = request.tile_vae_encoder_size if tiled_encoder else longest_side
        decoder = request.tile_vae_decoder_size * CELL
    return Recipe(
        steps=request.steps,
        t_max=request.t_max,
        t_min=request.t_min,
        tile_diffusion=request.tile_diffusion,
        tile_size=size,
        tile_stride=_multiple(stride, CELL),
        tiles_at_once=max(room // size**2, 1),
        encoder_tile=max(encoder // divisor, LEAST_TILE),
        decoder_tile=max(decoder // divisor, LEAST_TILE),
        color_fix=request.color_fix_type,
    )


def _multiple(value: int, number: int) -> int:
    """Round down to a multiple of a number, which is the least."""
    return max(value // number, 1) * number
