"""What real sizes would take of a device; predicted, not measured (see `tests.prediction`)."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from models.ccsr.loading import build
from models.ccsr.restorer import Restorer
from models.ccsr.schema import TileDiffusion
from models.diffusion.autoencoder import Autoencoder
from models.diffusion.unet import Controlled
from tests.models.ccsr.small import published_shapes
from tests.models.ccsr.tiny import make_recipe
from tests.prediction import DEVICE, Prediction, built, place, predicting

BFLOAT16 = torch.bfloat16


class Zeros:
    """Noise for tensors without bytes."""

    def draw(self, *shape: int) -> Tensor:
        return torch.empty(shape, device=DEVICE)


def make_networks() -> nn.ModuleDict:
    networks = build(published_shapes())
    del networks["text"]
    return networks


def restorer_of(networks: nn.ModuleDict, device: torch.device) -> Restorer:
    return Restorer(
        controlled=Controlled(networks["unet"], networks["controlnet"]),
        autoencoder=Autoencoder(vae=networks["vae"]),
        prompt=torch.empty(1, 77, 1024, dtype=BFLOAT16, device=device),
    )


@cache
def predict(side: int, mode: TileDiffusion, *, vae_tile: int = 1024) -> Prediction:
    """Predict all stages of a square picture, two calls of the networks for each tile."""
    networks = built(make_networks, BFLOAT16)
    recipe = make_recipe(
        steps=3,
        tile_diffusion=mode,
        tile_size=1024,
        tile_stride=512,
        encoder_tile=vae_tile,
        decoder_tile=vae_tile,
    )
    with predicting() as prediction:
        place(networks, DEVICE)
        restorer = restorer_of(networks, DEVICE)
        source = torch.empty(1, 3, side, side, device=DEVICE)
        hints = restorer.encode(source, recipe)
        latent = restorer.denoise(source, hints, recipe, Zeros())
        restorer.decode(latent, source, recipe)
    return prediction


def weights_bytes() -> int:
    return 2 * sum(each.numel() for each in built(make_networks, BFLOAT16).parameters())


def test_a_result_of_1_megapixel_fits_a_device_of_8_gb():
    assert predict(1024, TileDiffusion.NONE).peak[DEVICE.type] < 8e9 / 1.5
    assert weights_bytes() == pytest.approx(2.6e9, rel=0.02)
