"""What real sizes would take of a device; predicted, not measured (see `tests.prediction`)."""

import torch
from torch import nn

from models.ccsr.schema import TileDiffusion
from models.creative.options import CreativeOptions
from models.creative.pipeline import OVERLAP
from models.creative.recipe import WHOLE_PIXELS
from models.diffusion.conditioning import Condition
from models.diffusion.loop import Guidance, TiledDenoiser, embed_hints, strengths
from models.diffusion.unet import Steered, UnetConfig, build_controlnet, build_unet
from models.tiling.fuse import Mosaic, balanced, spread
from tests.models.ccsr import test_predicted as ccsr
from tests.models.clarity.test_predicted import FixedLevels, code, make_networks
from tests.prediction import DEVICE, HOST, Prediction, built, place, predicting

BFLOAT16 = torch.bfloat16
XL = UnetConfig(
    channels=(320, 640, 1280),
    attends=(False, True, True),
    heads=(5, 10, 20),
    context_width=2048,
    transformers=(1, 2, 10),
    added_width=2816,
)
"""The published sizes of Stable Diffusion XL (its `unet/config.json`)."""


def make_xl() -> nn.ModuleDict:
    return nn.ModuleDict({"steered": Steered(build_unet(XL), None)})


def predict_denoising(side: int, *, xl: bool, options: CreativeOptions) -> Prediction:
    """Predict one step of a square picture, with all networks on the device."""
    networks = built(make_xl if xl else make_networks, BFLOAT16)
    with predicting() as prediction:
        place(networks, DEVICE)
        denoise(networks["steered"], side, xl=xl, options=options)
    return prediction


def denoise(steered: Steered, side: int, *, xl: bool, options: CreativeOptions) -> None:
    """Take a step of a fake square picture with networks that are on the device."""
    cells = side // 8
    tile = options.sdxl_tile if xl else options.tile
    boxes = spread(cells, cells, tile_height=tile, tile_width=tile, overlap=OVERLAP)
    mosaic = Mosaic(
        boxes=boxes,
        weights=torch.ones(boxes[0].rows.length, boxes[0].columns.length, device=DEVICE),
        at_once=balanced(len(boxes), options.tile_batch),
    )
    hint = torch.empty(1, 3, side, side, device=DEVICE)
    prompt = Condition(
        tokens=torch.empty(1, 77, 2048 if xl else 768, device=DEVICE),
        pooled=torch.empty(1, 1280, device=DEVICE) if xl else None,
    )
    denoiser = TiledDenoiser(
        networks=steered,
        levels=FixedLevels(),
        mosaic=mosaic,
        hints=None if xl else embed_hints(steered, hint, mosaic),
        guidance=Guidance(wanted=prompt, unwanted=prompt, scale=7.5),
        strengths=strengths(steered.outputs, firmness=0.25),
        on_call=lambda: None,
        sizes=torch.empty(1, 6, device=DEVICE),
    )
    denoiser(torch.empty(1, 4, cells, cells, device=DEVICE), 0.6, 0)


def predict_turns(side: int, *, together: bool) -> dict[str, float]:
    """Predict each pass of a job of Stable Diffusion 1.5 with CCSR before it.

    Args:
        side: Of a square result, in pixels.
        together: CCSR's weights stay while Creative works, and the other way round; else those of
            whoever rests are on the host.

    Returns:
        By pass, the most bytes on the device.
    """
    options, peaks = CreativeOptions(), {}
    own, lent = built(make_networks, BFLOAT16), built(ccsr.make_networks, BFLOAT16)
    aside = DEVICE if together else HOST
    whole = side**2 <= WHOLE_PIXELS
    with predicting() as prediction:
        place(lent, DEVICE), place(own, aside)
        mode = TileDiffusion.NONE if whole else TileDiffusion.GAUSSIAN
        ccsr.restore(lent, side, mode, vae_tile=1024)
        peaks["restoring"] = prediction.peak.pop(DEVICE.type)
        place(lent, aside), place(own, DEVICE)
        denoise(own["steered"], side, xl=False, options=options)
        peaks["denoising"] = prediction.peak.pop(DEVICE.type)
        code(own["vae"], side, options.vae_tile)
        peaks["decoding"] = prediction.peak.pop(DEVICE.type)
    return peaks


def test_the_networks_of_the_published_sizes_are_built():
    """As many parameters as the published UNet, with the ControlNet for tiles of its kind."""
    with torch.device("meta"):
        unet = build_unet(XL)
        control = build_controlnet(UnetConfig(**{**vars(XL), "hint_channels": (16, 32, 96, 256)}))

    assert sum(each.numel() for each in unet.parameters()) == 2_567_463_684
    assert len(Steered(unet, control).controlnet.controlnet_down_blocks) + 1 == 10
