"""The small networks that the reference cases share, and what runs in them."""

from functools import cache
from pathlib import Path

import torch

from models.ccsr.recipe import Recipe
from models.ccsr.restorer import Restorer
from models.ccsr.schema import ColorFix, TileDiffusion
from models.diffusion.autoencoder import Autoencoder
from tests.goldens.case import Case
from tests.goldens.ccsr.networks import build_restorer

DATA = Path(__file__).parents[2] / "data" / "ccsr"


@cache
def make_restorer(dtype: torch.dtype = torch.float32) -> Restorer:
    """Return the networks of the reference cases."""
    restorer = build_restorer(Case.read(DATA / "sampler_full_50.safetensors"))
    return Restorer(
        controlled=restorer.controlled.to(dtype),
        autoencoder=Autoencoder(vae=restorer.autoencoder.vae.to(dtype)),
        prompt=restorer.prompt.to(dtype),
    )


def make_recipe(**changes) -> Recipe:
    """Return a recipe of few steps, without tiles."""
    defaults = {
        "steps": 5,
        "t_max": 0.6667,
        "t_min": 0.3333,
        "tile_diffusion": TileDiffusion.NONE,
        "tile_size": 64,
        "tile_stride": 32,
        "tiles_at_once": 2,
        "encoder_tile": 1024,
        "decoder_tile": 1024,
        "color_fix": ColorFix.ADAIN,
    }
    return Recipe(**defaults | changes)


def make_source(height: int, width: int) -> torch.Tensor:
    """Return a picture in [0, 1] that is not the same everywhere."""
    down = torch.linspace(0.1, 0.8, height)[:, None]
    across = torch.linspace(0.9, 0.2, width)
    noise = torch.rand(3, height, width, generator=torch.Generator().manual_seed(1))
    return (0.5 * (down + across) + 0.1 * (noise - 0.5))[None].clamp(0, 1)


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the root mean square error, relative to the reference's root mean square."""
    return ((actual.float() - expected).norm() / expected.norm()).item()
