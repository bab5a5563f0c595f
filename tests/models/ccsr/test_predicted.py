"""What real sizes would take of a device; predicted, not measured (see `tests.prediction`)."""

import pytest
import torch
from torch import nn

from models.ccsr.loading import build
from models.ccsr.restorer import Restorer
from models.ccsr.schema import TileDiffusion
from models.diffusion.autoencoder import Autoencoder
from models.diffusion.unet import Controlled
from tests.models.ccsr.small import published_shapes
from tests.models.ccsr.tiny import make_recipe
from tests.prediction import DEVICE, Prediction, built, place, predicting

BFLOAT16 = torch.bfloat16


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


def predict(side: int, mode: TileDiffusion, *, vae_tile: int = 1024) -> Prediction:
    """Predict all stages of a square picture, with one call of the networks for each tile."""
    networks = built(make_networks, BFLOAT16)
    with predicting() as prediction:
        place(networks, DEVICE)
        restore(networks, side, mode, vae_tile=vae_tile)
    return prediction


def restore(networks: nn.ModuleDict, side: int, mode: TileDiffusion, *, vae_tile: int) -> None:
    """Take a fake square picture through networks that are on the device."""
    recipe = make_recipe(
        tile_diffusion=mode,
        tile_size=1024,
        tile_stride=512,
        encoder_tile=vae_tile,
        decoder_tile=vae_tile,
    )
    restorer = restorer_of(networks, DEVICE)
    source = torch.empty(1, 3, side, side, device=DEVICE)
    latent = torch.empty(1, 4, side // 8, side // 8, device=DEVICE)
    hints = restorer.encode(source, recipe)
    latent = restorer.predictor(source, hints, recipe)(latent, 999)
    restorer.decode(latent, source, recipe)


def weights_bytes() -> int:
    return 2 * sum(each.numel() for each in built(make_networks, BFLOAT16).parameters())


def test_a_result_of_1_megapixel_fits_a_device_of_8_gb():
    assert predict(1024, TileDiffusion.NONE).peak[DEVICE.type] < 8e9 / 1.5
    assert weights_bytes() == pytest.approx(2.6e9, rel=0.02)
