"""What real sizes would take of a device; predicted, not measured (see `tests.prediction`)."""

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from models.clarity.options import ClarityOptions
from models.diffusion.autoencoder import VaeConfig, build_vae
from models.diffusion.bases import HEADS, UNET, Generation
from models.diffusion.conditioning import Condition
from models.diffusion.kdiffusion import Discrete
from models.diffusion.loop import Guidance, TiledDenoiser, embed_hints, strengths
from models.diffusion.stable import CONTROLNET
from models.diffusion.unet import Steered, build_controlnet, build_unet, read_unet_config
from models.tiling.autoencoder import decoder_steps, encoder_steps
from models.tiling.fuse import Mosaic, balanced, spread
from models.tiling.vae import Floor, run
from tests.models.clarity.small import published
from tests.prediction import DEVICE, HOST, Prediction, built, place, predicting

BFLOAT16 = torch.bfloat16


def make_networks() -> nn.ModuleDict:
    unet = read_unet_config(published("sd15_single_file"), UNET, heads=HEADS[Generation.SD15])
    control = read_unet_config(
        published("controlnet_tile.original_pth"), CONTROLNET, heads=HEADS[Generation.SD15]
    )
    steered = Steered(build_unet(unet), build_controlnet(control))
    return nn.ModuleDict({"steered": steered, "vae": build_vae(VaeConfig())})


def predict_denoising(side: int, options: ClarityOptions) -> Prediction:
    """Predict one step of a square picture, with all networks on the device."""
    networks = built(make_networks, BFLOAT16)
    tile = {"tile_height": options.tile_height, "tile_width": options.tile_width}
    boxes = spread(side // 8, side // 8, **tile, overlap=4)
    with predicting() as prediction:
        place(networks, DEVICE)
        steered = networks["steered"]
        mosaic = Mosaic(
            boxes=boxes,
            weights=torch.ones(boxes[0].rows.length, boxes[0].columns.length, device=DEVICE),
            at_once=balanced(len(boxes), options.tile_batch),
        )
        prompt = Condition(tokens=torch.empty(1, 77, 768, device=DEVICE))
        hint = torch.empty(1, 3, side, side, device=DEVICE)
        denoiser = TiledDenoiser(
            networks=steered,
            levels=FixedLevels(),
            mosaic=mosaic,
            hints=embed_hints(steered, hint, mosaic),
            guidance=Guidance(wanted=prompt, unwanted=prompt, scale=4.0),
            strengths=strengths(13, firmness=0.6),
            on_call=lambda: None,
        )
        denoiser(torch.empty(1, 4, side // 8, side // 8, device=DEVICE), 0.6, 0)
    return prediction


def predict_autoencoder(side: int, tile: int) -> Prediction:
    """Predict both ways through the autoencoder, what waits between layers on the host."""
    networks = built(make_networks, BFLOAT16)
    with predicting() as prediction:
        place(networks, DEVICE)
        code(networks["vae"], side, tile)
    return prediction


def code(vae: AutoencoderKL, side: int, tile: int) -> None:
    """Take a fake square picture both ways through an autoencoder that is on the device."""
    floor = Floor(device=DEVICE, rest=HOST, tile=tile, tick=lambda: None)
    pixels = torch.empty(1, 3, side, side, dtype=BFLOAT16, device=DEVICE)
    run(encoder_steps(vae.encoder), pixels, floor)
    cells = torch.empty(1, 4, side // 8, side // 8, dtype=BFLOAT16, device=DEVICE)
    run(decoder_steps(vae.decoder), cells, floor)


class FixedLevels(Discrete):
    """Levels without tensors, which would be fake."""

    def __init__(self) -> None:
        pass

    def timestep(self, sigma: float) -> float:
        return 200.0 * sigma


def weights_bytes() -> int:
    return 2 * sum(each.numel() for each in built(make_networks, BFLOAT16).parameters())


def test_a_result_of_16_megapixels_fits_a_device_of_12_gb():
    options = ClarityOptions()

    denoising = predict_denoising(4096, options).peak[DEVICE.type]
    autoencoder = predict_autoencoder(4096, options.vae_tile).peak[DEVICE.type]

    assert max(denoising, autoencoder) < 12e9 / 1.4
