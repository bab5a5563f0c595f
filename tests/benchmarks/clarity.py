"""Clarity's loop on the CPU, beside diffusers' own pipeline over the same networks.

The networks have a fifth of the channels of the real ones, random, in float32: only the ratio and
the share of time outside of them say anything.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from diffusers.pipelines.controlnet.pipeline_controlnet_img2img import (
    StableDiffusionControlNetImg2ImgPipeline,
)
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from torch import Tensor, nn

from models.diffusion.autoencoder import VaeConfig, build_vae
from models.diffusion.bases import HEADS, UNET, Generation
from models.diffusion.compiled import Shapes
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
CALLS = int(STRENGTH * STEPS) + 1
"""Of each tile: the pipeline is given the strength that makes it as many."""
ROUNDS = 3
COMPILED = os.environ.get("BENCH_CLARITY") == "compiled"
"""Whether compiled networks are compared with plain ones instead; they take minutes to make."""
OUTPUTS = 13


def run(_servers: Servers) -> Report:
    """Sample one latent by both in turn; the best round of each counts, in CPU time."""
    boxes = spread(SIDE, SIDE, tile_height=TILE, tile_width=TILE, overlap=4)
    task = make_task(Mosaic(boxes=boxes, weights=uniform(TILE, TILE), at_once=2), SIDE, SIDE)
    networks = make_networks()
    if COMPILED:
        return _compare_compiled(networks, task)
    return Report(
        figures=race("Clarity", networks, task),
        notes=(f"clarity: networks of a fifth of the channels, best of {ROUNDS}; load {load()}",),
    )


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is denoised.

    Attributes:
        mosaic: Its tiles.
        latent: `(1, 4, h, w)`.
        hint: `(1, 3, 8 * h, 8 * w)`.
        prompts: Embedded.
    """

    mosaic: Mosaic
    latent: Tensor
    hint: Tensor
    prompts: Guidance


def make_task(mosaic: Mosaic, height: int, width: int) -> Task:
    """Return a random one of `height` x `width` cells."""
    torch.manual_seed(0)
    wanted, unwanted = (Condition(tokens=torch.randn(1, 77, 384)) for _ in range(2))
    return Task(
        mosaic=mosaic,
        latent=torch.randn(1, 4, height, width),
        hint=torch.rand(1, 3, 8 * height, 8 * width),
        prompts=Guidance(wanted=wanted, unwanted=unwanted, scale=SCALE),
    )


def race(name: str, networks: Steered, task: Task, *, rounds: int = ROUNDS) -> tuple[Figure, ...]:
    """Compare our loop with diffusers' pipeline, and with the networks alone."""
    within = Within(networks)
    ours, plain, shares = [], [], []
    with torch.inference_mode():
        for _ in range(rounds):
            within.seconds = 0.0
            ours.append(seconds(lambda: _ours(networks, task)))
            shares.append(1 - within.seconds / ours[-1])
            plain.append(seconds(lambda: _theirs(networks, task)))
    ratio, share = min(plain) / min(ours), min(shares)
    calls = len(task.mosaic.boxes) * CALLS
    return (
        Figure(
            name=f"{name}, CPU time of a step of one tile, of {calls}",
            measured=f"{1000 * min(ours) / calls:.0f} ms",
            baseline=f"diffusers' pipeline: {1000 * min(plain) / calls:.0f} ms",
            ratio=f"{ratio:.2f} x as fast",
            target=">= 1 x",
            met=ratio >= 1,
        ),
        Figure(
            name=f"{name}, time outside of the networks",
            measured=f"{share:.1%}",
            baseline="",
            ratio="",
            target="<= 3 %",
            met=share <= 0.03,
        ),
    )


@torch.inference_mode()
def _compare_compiled(networks: Steered, task: Task) -> Report:
    """Compare a whole loop with the same over compiled networks, which must agree with it."""
    quick = make_networks(Shapes(height=TILE, width=TILE, batch=4))
    quick.load_state_dict(networks.state_dict())
    first = seconds(lambda: _ours(quick, task))
    torch.testing.assert_close(_ours(quick, task), _ours(networks, task), atol=1e-3, rtol=1e-3)
    plain, compiled = [], []
    for _ in range(ROUNDS):
        plain.append(seconds(lambda: _ours(networks, task)))
        compiled.append(seconds(lambda: _ours(quick, task)))
    figure = Figure(
        name=f"Clarity, {CALLS} steps of 4 tiles, compiled, CPU time",
        measured=f"{min(compiled):.2f} s (the first time {first:.0f} s, compilers apart)",
        baseline=f"not compiled: {min(plain):.2f} s",
        ratio=f"{min(plain) / min(compiled):.2f} x as fast",
    )
    return Report(figures=(figure,), notes=(f"clarity: best of {ROUNDS}; load {load()}",))


def make_networks(compiled: Shapes | None = None) -> Steered:
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
    networks = Steered(build_unet(unet), build_controlnet(control), compiled=compiled).eval()
    return networks.to(memory_format=torch.channels_last)  # as they are loaded


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


def _ours(networks: Steered, task: Task) -> Tensor:
    denoiser = TiledDenoiser(
        networks=networks,
        levels=Discrete(),
        mosaic=task.mosaic,
        hints=embed_hints(networks, task.hint, task.mosaic),
        guidance=task.prompts,
        strengths=strengths(OUTPUTS, firmness=0.6, decay=DECAY),
        on_call=lambda: None,
    )
    noise = SeededNoise(torch.Generator().manual_seed(0))
    return dpmpp_3m_sde(denoiser, task.latent, _sigmas(), noise)


def _pipeline(networks: Steered) -> StableDiffusionControlNetImg2ImgPipeline:
    """Return diffusers' own, over the same networks; what encodes texts and pixels is left out."""
    networks.controlnet.controlnet_cond_embedding = networks.hint_embedding
    pipeline = StableDiffusionControlNetImg2ImgPipeline(
        vae=build_vae(VaeConfig(channels=(32, 32, 32, 32))),
        text_encoder=None,
        tokenizer=None,
        unet=networks.unet,
        controlnet=networks.controlnet,
        scheduler=DPMSolverMultistepScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            algorithm_type="sde-dpmsolver++",
            solver_order=3,
            use_karras_sigmas=True,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _theirs(networks: Steered, task: Task) -> None:
    """Run diffusers' pipeline on one tile after the other: it knows no larger pictures."""
    pipeline = _pipeline(networks)
    for box in task.mosaic.boxes:
        pipeline(
            image=box.cut(task.latent),
            control_image=box.scaled(8).cut(task.hint),
            prompt_embeds=task.prompts.wanted.tokens,
            negative_prompt_embeds=task.prompts.unwanted.tokens,
            strength=CALLS / STEPS,
            num_inference_steps=STEPS,
            guidance_scale=SCALE,
            controlnet_conditioning_scale=0.6,
            output_type="latent",
        )
    networks.controlnet.controlnet_cond_embedding = nn.Identity()


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
