"""What real sizes would take of a device; predicted, not measured (see `tests.prediction`)."""

from dataclasses import replace

import pytest
import torch

from models.seedvr2.config import DIT_3B, VAE, DitConfig
from models.seedvr2.dit import Dit
from models.seedvr2.layout import lay_out
from models.seedvr2.schema import SeedVr2Request
from models.seedvr2.vae import Vae
from models.tiling.autoencoder import decoder_steps, encoder_steps, resting_bytes
from models.tiling.vae import Floor, run
from tests.prediction import DEVICE, HOST, Prediction, built, place, predicting

UHD_8K = (7680, 4320)
TILE = SeedVr2Request.model_fields["tile_size"].default


def predict_vae(stage: str, width: int, height: int, *, tile: int, rest: torch.device):
    """Predict one half of the autoencoder in bfloat16; weights of both halves are there."""
    vae = built(lambda: Vae(VAE), torch.bfloat16)
    floor = Floor(device=DEVICE, rest=rest, tile=tile, tick=lambda: None)
    with predicting() as prediction:
        place(vae, DEVICE)
        if stage == "encode":
            pixels = torch.empty(1, 3, height, width, dtype=torch.bfloat16, device=DEVICE)
            run(encoder_steps(vae.encoder), pixels, floor)
        else:
            cells = torch.empty(1, 16, height // 8, width // 8, dtype=torch.bfloat16, device=DEVICE)
            run(decoder_steps(vae.decoder), cells, floor)
    return prediction


def predict_dit(config: DitConfig, width: int, height: int) -> Prediction:
    """Predict the transformer in bfloat16, its weights included."""
    dit = built(lambda: Dit(config), torch.bfloat16)
    lay_out.cache_clear()  # its tables would be real ones
    with predicting() as prediction:
        place(dit, DEVICE)
        cells = torch.empty(height // 8, width // 8, 33, dtype=torch.bfloat16, device=DEVICE)
        text = torch.empty(58, config.text_width, dtype=torch.bfloat16, device=DEVICE)
        dit(cells, text, torch.empty(1, device=DEVICE))
    lay_out.cache_clear()
    return prediction


def weights_bytes(config: DitConfig) -> int:
    return 2 * sum(each.numel() for each in built(lambda: Dit(config), torch.bfloat16).parameters())


def test_an_8k_result_of_the_3b_fits_a_device_of_24_gb():
    shallow = replace(DIT_3B, layers=2, separate_layers=1)  # a block's activations die with it
    activations = predict_dit(shallow, *UHD_8K).peak[DEVICE.type] - weights_bytes(shallow)
    encoder = predict_vae("encode", *UHD_8K, tile=TILE, rest=HOST).peak[DEVICE.type]
    decoder = predict_vae("decode", *UHD_8K, tile=TILE, rest=HOST).peak[DEVICE.type]

    assert weights_bytes(DIT_3B) + max(activations, encoder, decoder) < 24e9 / 1.5


@pytest.mark.parametrize("stage", ["encode", "decode"])
def test_what_rests_on_the_host_is_what_was_reckoned_with(stage):
    vae = built(lambda: Vae(VAE), torch.bfloat16)
    coder = vae.encoder if stage == "encode" else vae.decoder

    resting = predict_vae(stage, 1024, 768, tile=512, rest=HOST).peak[HOST.type]

    assert resting == pytest.approx(resting_bytes(coder, 1024 * 768, torch.bfloat16), rel=0.01)


def test_tiles_bound_what_the_device_holds_and_cost_no_arithmetic_to_speak_of():
    untiled = predict_vae("decode", 1024, 1024, tile=1024, rest=HOST)
    tiled = predict_vae("decode", 1024, 1024, tile=256, rest=HOST)

    assert tiled.peak[DEVICE.type] < untiled.peak[DEVICE.type] / 3
    assert tiled.flops < 1.05 * untiled.flops
