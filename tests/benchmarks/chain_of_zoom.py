"""Chain-of-Zoom on the CPU: what a step costs beside its networks, and what a bundle saves."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from models.chain_of_zoom.enhancer import Enhancer, Prompt
from models.chain_of_zoom.options import ChainOfZoomOptions, Prompter
from models.chain_of_zoom.pipeline import ChainOfZoomUpscaler
from models.chain_of_zoom.schema import ChainOfZoomRequest
from models.chain_of_zoom.transformer import TransformerConfig, build_transformer
from models.chain_of_zoom.weights import MANIFEST
from models.checkpoint.manifest import LocalWeights, look
from models.diffusion.autoencoder import VaeConfig, build_vae
from models.image import Picture
from models.placement import BlockStream, StraightLane
from models.tiling import vae as seamless
from models.tiling.steps import Step
from models.tiling.vae import Floor
from models.upscaler import Result, Work
from tests.benchmarks.ccsr import clock
from tests.benchmarks.figures import Figure, Report, load, megabytes
from tests.benchmarks.servers import Servers
from tests.models.chain_of_zoom.small import write_chain_of_zoom, write_language
from tests.models.contexts import make_context
from tests.pictures import make_pixels

SIDE = 512
LAYERS = 4
"""Of the transformer's 24, at their real width: fewer overstate the share of everything else."""
JOBS, STEPS = 4, 2


def run(_servers: Servers) -> Report:
    """Take one step at real sizes, and go through a bundle of small networks both ways."""
    figures = [share_outside()]
    with TemporaryDirectory() as folder:
        figures += bundles(load_small(Path(folder)))
    note = (
        f"chain_of_zoom: frames of {SIDE} x {SIDE}; {LAYERS} of 24 layers of real width, the whole "
        f"autoencoder; a bundle of {JOBS} jobs of {STEPS} steps with small networks; load {load()}"
    )
    return Report(figures=tuple(figures), notes=(note,))


def share_outside() -> Figure:
    """Measure what a step spends beside the transformer and the autoencoder.

    The autoencoder counts with what our runner takes, but no more than its plain form does.
    """
    torch.manual_seed(0)
    transformer = filled(build_transformer(TransformerConfig(layers=LAYERS)))
    vae = filled(build_vae(VaeConfig(cells=16, quantised=False)))
    vae.to(memory_format=torch.channels_last)
    prompt = Prompt(tokens=torch.randn(1, 589, 4096), pooled=torch.randn(1, 2048))
    runner = Clocked()
    upscaler = ChainOfZoomUpscaler(
        enhancer=Enhancer(transformer=transformer, vae=vae, running=runner),
        prompts=Known(prompt),  # type: ignore[arg-type]
        options=ChainOfZoomOptions(),
    )
    job = make_work(1, 1)
    pixels = torch.rand(1, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode(), clock(transformer) as inside:
        plain = seconds(lambda: vae.decode(vae.encode(pixels).latent_dist.mean).sample)
        total = seconds(lambda: upscaler.upscale(*job))
    outside = 1 - (sum(inside) + min(plain, runner.seconds)) / total
    return Figure(
        name="Chain-of-Zoom, a step, CPU time outside of the networks",
        measured=f"{outside:.1%} of {total:.1f} s",
        baseline=f"transformer {sum(inside):.1f} s, autoencoder {runner.seconds:.1f} s, "
        f"its plain form {plain:.1f} s",
        target="<= 3 %",
        met=outside <= 0.03,
    )


class Clocked:
    """Runs an autoencoder as Chain-of-Zoom does, and adds up the time."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self, steps: Sequence[Step], picture: Tensor, floor: Floor) -> Tensor:
        began = time.process_time()
        made = seamless.run(steps, picture, floor)
        self.seconds += time.process_time() - began
        return made


def filled(module: nn.Module) -> nn.Module:
    """Give a network small random weights."""
    for parameter in module.eval().requires_grad_(requires_grad=False).parameters():
        parameter.normal_(std=0.02)
    return module


@dataclass(frozen=True)
class Known:
    """Knows the embedding of every text: that of text encoders, which would take 22 GB."""

    prompt: Prompt

    def embed(self, texts: list[str]) -> list[Prompt]:
        """Return it for each."""
        return [self.prompt] * len(texts)


def load_small(folder: Path) -> ChainOfZoomUpscaler:
    """Load small networks, with a language model, as a worker does."""
    write_language(write_chain_of_zoom(folder))
    (variant,) = MANIFEST.variants
    weights = LocalWeights(variant=variant.name, files=look(variant.parts, folder))
    options = ChainOfZoomOptions(prompter=Prompter.VLM)
    return ChainOfZoomUpscaler.load(weights, options=options, device="cpu", dtype="float32")


def bundles(upscaler: ChainOfZoomUpscaler) -> Iterator[Figure]:
    """Compare a bundle with its jobs one by one: time, moved weights, and calls; same bytes."""
    moved = Moved()
    encoders = upscaler.prompts._encoders
    BlockStream(encoders.blocks(), torch.device("cpu"), moved)
    visited = Visited(upscaler.prompter)
    upscaler = replace(upscaler, prompter=visited)  # type: ignore[arg-type]
    jobs = [make_work(STEPS, seed) for seed in range(JOBS)]
    with clock(upscaler.enhancer.transformer) as calls:
        alone = counted(upscaler, lambda: [upscaler.upscale(*job) for job in jobs], moved, visited)
        together = counted(upscaler, lambda: upscaler.upscale_together(jobs), moved, visited)
    assert all(map(same, alone.results, together.results))
    ratio = alone.seconds / together.seconds
    yield Figure(
        name=f"a bundle of {JOBS} zooms, CPU time where nothing moves",
        measured=f"{together.seconds:.1f} s",
        baseline=f"one by one: {alone.seconds:.1f} s",
        ratio=f"{ratio:.2f} x as fast",
        target=">= 0.95 x",
        met=ratio >= 0.95,
    )
    less = alone.moved_bytes / together.moved_bytes
    yield Figure(
        name=f"a bundle of {JOBS} zooms, weights of text encoders that move to the device",
        measured=megabytes(together.moved_bytes),
        baseline=f"one by one: {megabytes(alone.moved_bytes)}",
        ratio=f"{less:.2f} x less",
        target=f">= {0.9 * JOBS:.1f} x",
        met=less >= 0.9 * JOBS,
    )
    yield Figure(
        name=f"a bundle of {JOBS} zooms, visits of the language model",
        measured=str(together.visits),
        baseline=f"one by one: {alone.visits}",
        ratio=f"{alone.visits / together.visits:.2f} x less",
        target=f"{JOBS} x",
        met=alone.visits == JOBS * together.visits,
    )
    per_step = len(calls) / (2 * JOBS * STEPS)
    yield Figure(
        name="calls of the transformer for a step",
        measured=f"{per_step:g}",
        target="1",
        met=per_step == 1,
    )


@dataclass(frozen=True)
class Run:
    """What a way through all jobs took, and what came of it."""

    results: list[Result]
    seconds: float
    moved_bytes: int
    visits: int


def counted(
    upscaler: ChainOfZoomUpscaler,
    work: Callable[[], list[Result]],
    moved: "Moved",
    visited: "Visited",
) -> Run:
    """Do the work with no prompt known from before."""
    upscaler.prompts._known.clear()
    before, visits = moved.size_bytes, visited.count
    made: list[Result] = []
    spent = seconds(lambda: made.extend(work()))
    return Run(made, spent, moved.size_bytes - before, visited.count - visits)


class Moved(StraightLane):
    """Counts what is copied."""

    def __init__(self) -> None:
        self.size_bytes = 0

    def send(self, source: Tensor, target: Tensor, *, after: None) -> None:
        self.size_bytes += source.nbytes
        super().send(source, target, after=after)


class Visited:
    """Counts how often a prompter's network comes to the device."""

    def __init__(self, prompter) -> None:
        self._prompter = prompter
        self.count = 0

    @contextmanager
    def present(self):
        self.count += 1
        with self._prompter.present() as describe:
            yield describe


def make_work(steps: int, seed: int) -> Work:
    request = ChainOfZoomRequest(image_url="picture.png", scale=steps, seed=seed)
    return Work(Picture(pixels=make_pixels(SIDE, SIDE, seed=seed)), request, make_context())


def same(one: Result, other: Result) -> bool:
    return all(map(np.array_equal, one.images, other.images))


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
