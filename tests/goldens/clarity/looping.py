"""Tiles, the steered UNet, and whole loops over a latent."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from models.diffusion.conditioning import Condition
from models.diffusion.kdiffusion import Discrete, dpmpp_3m_sde
from models.diffusion.loop import DECAY, Guidance, TiledDenoiser, embed_hints, strengths
from models.diffusion.noise import RecordedNoise
from models.diffusion.unet import (
    Steered,
    build_controlnet,
    build_unet,
    read_modern_unet_config,
)
from models.tiling.fuse import Fusion, Mosaic, balanced, bell, spread, uniform
from tests.goldens.case import Case
from tests.goldens.comparison import Comparison, Tolerance, agree, compare

MODULE = Tolerance(absolute=1e-5)
LOOP = Tolerance(absolute=2e-4)


def _boxes(height: int, width: int, config: Mapping[str, Any]):
    return spread(
        height,
        width,
        tile_height=config["tile_h"],
        tile_width=config["tile_w"],
        overlap=config["overlap"],
    )


def _corners(boxes) -> list[list[int]]:
    return [[box.columns.start, box.rows.start, box.columns.stop, box.rows.stop] for box in boxes]


def check_boxes(case: Case) -> Iterator[Comparison]:
    """Lay out the tiles of many latents."""
    for each in case.config["cases"]:
        boxes = _boxes(each["latent_h"], each["latent_w"], each)
        name = f"{each['latent_w']}x{each['latent_h']} in {each['tile_w']}x{each['tile_h']}"
        yield agree(name, _corners(boxes), each["boxes_xyxy"])
        at_once = balanced(len(boxes), each["tile_batch"])
        yield agree(f"{name}, at once", at_once, each["tile_batch_eff"])


def check_step(case: Case) -> Iterator[Comparison]:
    """Fuse what a formula makes of tiles, by both kinds of weights."""
    x, sigma = case.inputs["x"], float(case.inputs["sigma"][0])
    height, width = x.shape[2:]
    boxes = _boxes(height, width, case.config)
    corners = torch.tensor(_corners(boxes))
    yield compare("boxes_xyxy", corners, case.intermediate["boxes_xyxy"], Tolerance())
    tile = (boxes[0].rows.length, boxes[0].columns.length)
    tiles = [_toy(box.cut(x), sigma) for box in boxes]
    # One sample at a time: the product has no batches of pictures.
    for name, weights in (
        ("multidiffusion", uniform(*tile)),
        ("mixture_of_diffusers", bell(*tile)),
    ):
        fused = []
        for sample in range(len(x)):
            fusion = Fusion(weights, height, width)
            fusion.add(boxes, torch.cat([each[sample : sample + 1] for each in tiles]))
            fused.append(fusion.mean())
        yield compare(name, torch.cat(fused), case.outputs[name], MODULE)
    yield compare("gaussian_tile", bell(*tile), case.intermediate["gaussian_tile"], MODULE)


def _toy(x: Tensor, sigma: float) -> Tensor:
    across = torch.linspace(-1, 1, x.shape[3])
    down = torch.linspace(-1, 1, x.shape[2])[:, None]
    mean = x.mean((2, 3), keepdim=True)
    return (
        x * torch.exp(torch.tensor(-sigma / 5))
        + 0.3 * torch.sin(2 * x + 3 * across - 2 * down)
        + 0.05 * mean
    )


def _networks(case: Case) -> Steered:
    """Build the networks by their tensors, which have diffusers' names."""
    config = case.config["unet"]
    sizes = {
        "heads": config["attention_head_dim"],  # the number of heads, in spite of its name
        "groups": config["norm_num_groups"],
    }
    networks = []
    for prefix, build in (("unet.", build_unet), ("controlnet.", build_controlnet)):
        own = {
            name.removeprefix(prefix): tensor
            for name, tensor in case.weights.items()
            if name.startswith(prefix)
        }
        shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
        network = build(read_modern_unet_config(shapes, **sizes))
        network.load_state_dict(own, strict=True)
        networks.append(network.eval())
    return Steered(*networks)


def check_forward(case: Case) -> Iterator[Comparison]:
    """Predict noise without a hint, with one, and with one that counts less further out."""
    networks, inputs = _networks(case), case.inputs
    hint = networks.embed_hint(inputs["hint"])
    firmness = case.config["weight"]
    for name, each in (
        ("eps_no_control", strengths(13, firmness=0.0)),
        ("eps_uniform", strengths(13, firmness=firmness)),
        ("eps_soft", strengths(13, firmness=firmness, decay=DECAY)),
    ):
        made = networks(inputs["x"], inputs["t"], inputs["context"], hint, each)
        yield compare(name, made, case.outputs[name], MODULE)


def check_loop(case: Case) -> Iterator[Comparison]:
    """Sample a whole latent."""
    config, inputs = case.config, case.inputs
    latent = inputs["latent"]
    height, width = latent.shape[2:]
    boxes = _boxes(height, width, config)
    mosaic = Mosaic(
        boxes=boxes,
        weights=uniform(boxes[0].rows.length, boxes[0].columns.length),
        at_once=balanced(len(boxes), config["tile_batch"]),
    )
    networks = _networks(case)
    guesses: list[Tensor] = []
    seen: list[Tensor] = []
    denoiser = TiledDenoiser(
        networks=networks,
        levels=Discrete(),
        mosaic=mosaic,
        hints=embed_hints(networks, inputs["hint"], mosaic),
        guidance=Guidance(
            wanted=Condition(tokens=inputs["cond"]),
            unwanted=Condition(tokens=inputs["uncond"]),
            scale=config["guidance_scale"],
        ),
        strengths=strengths(13, firmness=config["control_weight"], decay=DECAY),
        on_call=lambda: None,
    )

    def denoise(x: Tensor, sigma: float, step: int) -> Tensor:
        seen.append(x)
        guesses.append(denoiser(x, sigma, step))
        return guesses[step]

    start = latent + inputs["initial_noise"] * inputs["sigmas"][0]
    made = dpmpp_3m_sde(denoise, start, inputs["sigmas"], RecordedNoise(inputs["step_noise"]))
    yield compare("latent", made, case.outputs["latent"], LOOP)
    yield compare("denoised", torch.stack(guesses), case.intermediate["denoised"], LOOP)
    yield compare("x_before_step", torch.stack(seen), case.intermediate["x_before_step"], LOOP)
