"""CCSR on the CPU beside the loop that one would write first, over the same modules."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from models.ccsr.loading import build
from models.ccsr.recipe import Recipe
from models.ccsr.restorer import Restorer
from models.ccsr.sampler import Walk, descend
from models.ccsr.schema import ColorFix, TileDiffusion
from models.colorfix import adain
from models.diffusion.autoencoder import CELL, SCALING, Autoencoder
from models.diffusion.noise import SeededNoise
from models.diffusion.unet import Controlled
from models.tiling.fuse import bell, windows
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.servers import Servers
from tests.models.ccsr.small import published_shapes, small_tensors

TIMES = 3
SIDE, TILE, STRIDE = 256, 128, 64
"""Pixels of the picture and of its tiles: nine of them."""

REAL = os.environ.get("BENCH_CCSR") == "real"
"""Whether the networks have their real sizes (6 GB of memory) or a tenth of the width; then only
the share of time outside of them is measured, which smaller ones overstate."""


def run(_servers: Servers) -> Report:
    """Time ours and the plain loop in turn, with tiles and without; take the best of each."""
    restorer = make_restorer(published_shapes() if REAL else small_shapes())
    figures = [share_outside(restorer, recipe(TileDiffusion.NONE))]
    if not REAL:
        figures.append(compare(restorer, recipe(TileDiffusion.NONE), "whole"))
        figures.append(compare(restorer, recipe(TileDiffusion.GAUSSIAN), "nine tiles"))
    size = "real" if REAL else "a tenth of the real"
    note = f"ccsr: {SIDE} x {SIDE} pixels, widths: {size}, best of {times()}; load {load()}"
    return Report(figures=tuple(figures), notes=(note,))


def times() -> int:
    return 1 if REAL else TIMES


def small_shapes() -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in small_tensors().items()}


def make_restorer(shapes: dict[str, tuple[int, ...]]) -> Restorer:
    """Return networks of the sizes that shapes tell, with random weights."""
    networks = build(shapes)
    del networks["text"]
    networks = networks.to_empty(device="cpu").to(memory_format=torch.channels_last)
    torch.manual_seed(0)
    for parameter in networks.requires_grad_(requires_grad=False).parameters():
        parameter.normal_(std=0.02)
    context = networks["unet"].config.cross_attention_dim
    return Restorer(
        controlled=Controlled(networks["unet"], networks["controlnet"]),
        autoencoder=Autoencoder(vae=networks["vae"]),
        prompt=torch.randn(1, 77, context),
    )


def recipe(mode: TileDiffusion) -> Recipe:
    """Return ten steps, of which five calls are made."""
    return Recipe(
        steps=10,
        t_max=0.6667,
        t_min=0.3333,
        tile_diffusion=mode,
        tile_size=TILE,
        tile_stride=STRIDE,
        tiles_at_once=9,
        encoder_tile=SIDE,
        decoder_tile=SIDE,
        color_fix=ColorFix.ADAIN,
    )


def compare(restorer: Restorer, chosen: Recipe, what: str) -> Figure:
    """Compare the time of a whole run with that of the plain loop, which must agree with it."""
    source = torch.rand(1, 3, SIDE, SIDE)
    ours, plain = [], []
    for _ in range(times()):
        ours.append(timed(lambda: restore(restorer, source, chosen)))
        plain.append(timed(lambda: plainly(restorer, source, chosen)))
    torch.testing.assert_close(ours[0][1], plain[0][1], atol=1e-2, rtol=1e-2)
    best, base = (min(seconds for seconds, _ in each) for each in (ours, plain))
    return Figure(
        name=f"CCSR, {what}, five calls, CPU time",
        measured=f"{best:.1f} s",
        baseline=f"upstream's loop over diffusers' modules: {base:.1f} s",
        ratio=f"{base / best:.2f} x as fast",
        target=">= 1 x",
        met=base / best >= 0.98,
    )


def share_outside(restorer: Restorer, chosen: Recipe) -> Figure:
    """Measure what is spent beside UNet, ControlNet, and the autoencoder's plain form."""
    source = torch.rand(1, 3, SIDE, SIDE)
    vae = restorer.autoencoder.vae
    shares = []
    for _ in range(times()):
        with torch.inference_mode(), clock(restorer.controlled) as inside:
            coding, _ = timed(lambda: vae.decode(vae.encode(source).latent_dist.mean).sample)
            total, _ = timed(lambda: restore(restorer, source, chosen))
        shares.append(1 - (sum(inside) + coding) / total)
    outside = sorted(shares)[len(shares) // 2]
    return Figure(
        name="CCSR, CPU time outside of the networks",
        measured=f"{outside:.1%}",
        target="<= 3 % at real sizes",
        met=outside <= 0.03 if REAL else None,
    )


@contextmanager
def clock(module: nn.Module) -> Iterator[list[float]]:
    """Yield a list that the time of each call of a module is appended to."""
    spent: list[float] = []
    begun: list[float] = []
    hooks = (
        module.register_forward_pre_hook(lambda *_: begun.append(time.process_time())),
        module.register_forward_hook(lambda *_: spent.append(time.process_time() - begun[-1])),
    )
    yield spent
    for hook in hooks:
        hook.remove()


def timed(work: Callable[[], Tensor]) -> tuple[float, Tensor]:
    began = time.process_time()
    made = work()
    return time.process_time() - began, made


@torch.inference_mode()
def restore(restorer: Restorer, source: Tensor, chosen: Recipe) -> Tensor:
    noise = SeededNoise(torch.Generator().manual_seed(0))
    latent = restorer.denoise(source, restorer.encode(source, chosen), chosen, noise)
    return restorer.decode(latent, source, chosen)


@torch.inference_mode()
def plainly(restorer: Restorer, source: Tensor, chosen: Recipe) -> Tensor:
    """Do the same as upstream does: one tile after the other, each encoded anew in every step."""
    vae, controlled = restorer.autoencoder.vae, restorer.controlled
    tiled = chosen.tile_diffusion is TileDiffusion.GAUSSIAN
    size = TILE if tiled else SIDE
    boxes = windows(SIDE // CELL, SIDE // CELL, size=size // CELL, stride=STRIDE // CELL)
    weights = bell(size // CELL, size // CELL) if tiled else torch.ones(size // CELL, size // CELL)

    def predict(latent: Tensor, timestep: int) -> Tensor:
        total, count = torch.zeros_like(latent), torch.zeros_like(latent)
        for box in boxes:
            pixels = box.scaled(CELL).cut(source) * 2 - 1
            hint = vae.encode(pixels).latent_dist.mode() * SCALING
            made = controlled(box.cut(latent), torch.tensor([timestep]), restorer.prompt, hint)
            box.cut(total).add_(made * weights)
            box.cut(count).add_(weights)
        return total / count

    walk = Walk.plan(steps=chosen.steps, t_max=chosen.t_max, t_min=chosen.t_min)
    noise = SeededNoise(torch.Generator().manual_seed(0))
    shape = (1, 4, SIDE // CELL, SIDE // CELL)
    latent = descend(walk, predict, lambda: noise.draw(*shape), wasteful=not tiled)
    return adain(vae.decode(latent / SCALING).sample / 2 + 0.5, source)
