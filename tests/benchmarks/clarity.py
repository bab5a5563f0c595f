"""Clarity's loop on the CPU, beside a plain one over the same networks.

The networks have a fifth of the channels of the real ones, random, in float32: only the ratio and
the share of time outside of them say anything.
"""

import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from models.diffusion.bases import HEADS, UNET, Generation
from models.diffusion.conditioning import Condition
from models.diffusion.kdiffusion import Discrete, dpmpp_3m_sde, karras_without_last, truncated
from models.diffusion.loop import DECAY, Guidance, TiledDenoiser, embed_hints, strengths
from models.diffusion.noise import SeededNoise
from models.diffusion.stable import CONTROLNET
from models.diffusion.unet import Steered, build_controlnet, build_unet, read_unet_config
from models.tiling.fuse import Mosaic, spread, uniform
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.servers import Servers
from tests.models.clarity.small import published

SIDE = 64
"""Of the latent, in cells: four tiles of 34."""
TILE = 34
STEPS, STRENGTH, SCALE = 6, 0.35, 4.0
ROUNDS = 3
OUTPUTS = 13


def run(_servers: Servers) -> Report:
    """Sample one latent by both loops in turn; the best round of each counts, in CPU time."""
    torch.manual_seed(0)
    networks = _networks()
    hint = torch.rand(1, 3, 8 * SIDE, 8 * SIDE)
    prompts = Guidance(
        wanted=Condition(tokens=torch.randn(1, 77, 384)),
        unwanted=Condition(tokens=torch.randn(1, 77, 384)),
        scale=SCALE,
    )
    latent = torch.randn(1, 4, SIDE, SIDE)
    within = Within(networks)
    ours, plain, shares = [], [], []
    with torch.inference_mode():
        for _ in range(ROUNDS):
            within.seconds = 0.0
            ours.append(_seconds(lambda: _ours(networks, latent, hint, prompts)))
            shares.append(1 - within.seconds / ours[-1])
            plain.append(_seconds(lambda: _plain(networks, latent, hint, prompts)))
    ratio, share = min(plain) / min(ours), min(shares)
    calls = int(STRENGTH * STEPS) + 1
    return Report(
        figures=(
            Figure(
                name=f"Clarity, {calls} steps of 4 tiles, CPU time",
                measured=f"{min(ours):.2f} s",
                baseline=f"plain loop: {min(plain):.2f} s",
                ratio=f"{ratio:.2f} x as fast",
                target=">= 1 x",
                met=ratio >= 1,
            ),
            Figure(
                name="Clarity, time outside of the networks",
                measured=f"{share:.1%}",
                baseline="",
                ratio="",
                target="<= 3 %",
                met=share <= 0.03,
            ),
        ),
        notes=(f"clarity: networks of a fifth of the channels, best of {ROUNDS}; load {load()}",),
    )


def _networks() -> Steered:
    configs = [
        read_unet_config(published(part), prefix, heads=HEADS[Generation.SD15])
        for part, prefix in (
            ("sd15_single_file", UNET),
            ("controlnet_tile.original_pth", CONTROLNET),
        )
    ]
    unet, control = (
        replace(
            config,
            channels=tuple(width // 5 for width in config.channels),
            context_width=config.context_width // 2,
        )
        for config in configs
    )
    return Steered(build_unet(unet), build_controlnet(control)).eval()


class Within:
    """Adds up the time that is spent in the networks."""

    def __init__(self, networks: Steered) -> None:
        self.seconds = 0.0
        self._began = 0.0
        for network in (networks.unet, networks.controlnet, networks.hint_embedding):
            network.register_forward_pre_hook(self._begin)
            network.register_forward_hook(self._end)

    def _begin(self, *_: object) -> None:
        self._began = time.process_time()

    def _end(self, *_: object) -> None:
        self.seconds += time.process_time() - self._began


def _sigmas() -> Tensor:
    levels = Discrete()
    return truncated(karras_without_last(STEPS, least=levels.least, most=levels.most), STRENGTH)


def _ours(networks: Steered, latent: Tensor, hint: Tensor, prompts: Guidance) -> Tensor:
    boxes = spread(SIDE, SIDE, tile_height=TILE, tile_width=TILE, overlap=4)
    mosaic = Mosaic(boxes=boxes, weights=uniform(TILE, TILE), at_once=2)
    sigmas = _sigmas()
    denoiser = TiledDenoiser(
        networks=networks,
        levels=Discrete(),
        mosaic=mosaic,
        hints=embed_hints(networks, hint, mosaic),
        guidance=prompts,
        strengths=strengths(OUTPUTS, firmness=0.6, decay=DECAY),
        on_call=lambda: None,
    )
    noise = SeededNoise(torch.Generator().manual_seed(0))
    return dpmpp_3m_sde(denoiser, latent, sigmas, noise)


def _plain(networks: Steered, latent: Tensor, hint: Tensor, prompts: Guidance) -> Tensor:
    """Loop as a diffusers pipeline does: the hint is embedded at every step; tiles one by one."""
    boxes = spread(SIDE, SIDE, tile_height=TILE, tile_width=TILE, overlap=4)
    context = torch.cat([prompts.unwanted.tokens, prompts.wanted.tokens])
    for _ in _sigmas()[:-1]:
        total, count = torch.zeros_like(latent), torch.zeros_like(latent)
        for box in boxes:
            twice = box.cut(latent).repeat(2, 1, 1, 1)
            shown = box.scaled(8).cut(hint).repeat(2, 1, 1, 1)
            at = torch.tensor([200.0])
            embedded = networks.hint_embedding(shown)
            down, middle = networks.controlnet(twice, at, context, embedded, return_dict=False)
            (noise,) = networks.unet(
                twice,
                at,
                context,
                down_block_additional_residuals=[0.6 * each for each in down],
                mid_block_additional_residual=0.6 * middle,
                return_dict=False,
            )
            without, with_it = noise.chunk(2)
            box.cut(total).add_(without + SCALE * (with_it - without))
            box.cut(count).add_(1)
        latent = latent - 0.1 * total / count
    return latent


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
