"""That tiles of diffusion can't be told from the result, though each has an idea of its own."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, pad

from models.clarity.options import ClarityOptions
from models.clarity.pipeline import ClarityUpscaler
from models.diffusion.conditioning import Condition
from models.diffusion.kdiffusion import Discrete, dpmpp_3m_sde, karras_without_last, truncated
from models.diffusion.loop import Guidance, TiledDenoiser
from models.diffusion.noise import SeededNoise
from models.tiling.fuse import Mosaic, cut

HEIGHT, WIDTH = 60, 96
"""Of the latent, in cells: two tiles by four."""
OPTIONS = ClarityOptions(tile_height=32, tile_width=32, tile_batch=4)
OWN = 0.02
"""How much of a tile's own brightness is added to all of it."""
VISIBLE = 1.5
"""A step at a border that is this much of the usual one is seen."""


class Opinionated(nn.Module):
    """Sees the picture behind the noise by what is near, in the light of the tile as a whole.

    That is what norms and attention do to real networks: their view is local, but for a shift that
    all of a tile has in common.
    """

    unet = SimpleNamespace(dtype=torch.float32)

    def __init__(self, levels: Discrete) -> None:
        super().__init__()
        self.logs = levels.sigmas.log()

    def forward(
        self, latent: Tensor, timesteps: Tensor, _prompt: object, hint: Tensor, *_more: object
    ) -> Tensor:
        below = int(timesteps.item())
        sigma = self.logs[below].lerp(self.logs[below + 1], timesteps.item() - below).exp()
        noisy = latent * (sigma**2 + 1).sqrt()
        near = avg_pool2d(pad(noisy, (2, 2, 2, 2), mode="replicate"), 5, stride=1)
        guess = (near + 3 * hint) / 4 + OWN * hint.mean((2, 3), keepdim=True)
        return (noisy - guess) / sigma


def picture() -> Tensor:
    """Return a slope with waves on it, `(1, 4, HEIGHT, WIDTH)`."""
    down = torch.linspace(-1, 1, HEIGHT)[:, None]
    across = torch.linspace(-1, 1, WIDTH)
    waves = 0.03 * torch.sin(8 * torch.pi * across) * torch.cos(6 * torch.pi * down)
    return (down + across + waves).expand(1, 4, -1, -1)


def enlarge(mosaic: Mosaic) -> Tensor:
    """Take the picture through clarity's steps."""
    levels, prompt = Discrete(), Condition(tokens=torch.zeros(1, 77, 1))
    denoiser = TiledDenoiser(
        networks=Opinionated(levels),
        levels=levels,
        mosaic=mosaic,
        hints=[cut(picture(), boxes) for boxes in mosaic.batches()],
        guidance=Guidance(wanted=prompt, unwanted=prompt, scale=1.0),
        strengths=(),
        on_call=lambda: None,
    )
    sigmas = truncated(karras_without_last(18, least=levels.least, most=levels.most), 0.35)
    noise = SeededNoise(torch.Generator().manual_seed(0))
    start = picture() + noise.draw(1, 4, HEIGHT, WIDTH) * sigmas[0].item()
    return dpmpp_3m_sde(denoiser, start, sigmas, noise)


def largest_step(latent: Tensor) -> float:
    """Return the largest step from one line of cells to the next, in median ones, either way."""
    profiles = [latent.mean((0, 1, axis)).diff().abs() for axis in (2, 3)]
    return max(float(steps.max() / steps.median()) for steps in profiles)


@pytest.fixture
def mosaic() -> Mosaic:
    here = SimpleNamespace(options=OPTIONS, model=SimpleNamespace(device=torch.device("cpu")))
    return ClarityUpscaler.mosaic(here, HEIGHT, WIDTH)


def test_where_tiles_end_can_not_be_seen(mosaic):
    assert len(mosaic.boxes) == 8

    assert largest_step(enlarge(mosaic)) < VISIBLE


def test_hard_cuts_could_be_seen(mosaic):
    """So the test above fails where tiles are set side by side instead of averaged."""
    down, across = (torch.arange(side) - (side - 1) / 2 for side in mosaic.weights.shape)
    nearest = torch.exp(-(down[:, None] ** 2 + across**2) / 8)

    assert largest_step(enlarge(replace(mosaic, weights=nearest))) > VISIBLE
