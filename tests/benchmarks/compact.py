"""The built-in network: beside matrix products, plain resampling, and a plain network of its kind.

All are timed in turn, so that whatever else the machine does meets all of them alike; the best
round of each counts.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from PIL import Image

from models.compact.pipeline import CompactUpscaler
from models.compact.schema import CompactRequest, Variant
from models.compact.training import fidelity
from models.compact.training.pictures import HELD_OUT, photograph
from models.image import Picture
from models.options import NoOptions
from models.upscaler import Work
from tests.benchmarks.figures import Figure, Report, load, megabytes
from tests.benchmarks.fsrcnn import GAIN_DB, Fsrcnn
from tests.benchmarks.servers import Servers
from tests.models.contexts import make_context
from tests.pictures import make_pixels

SIDE = 714
"""Of the input: three tiles, so that none is smaller than in a large picture."""
ROUNDS = 12
MATRIX = 2048
SHARE = 0.60
"""Of the matrix product's floating-point operations a second, counting none that tiles repeat."""
SPEED = 1.5
"""Megapixels of output a second, on two idle cores."""
MEMORY = 400e6
SMALL = (8, 16, 32, 64, 128)

PEAK = """
import re, torch
from pathlib import Path
def peak():  # not getrusage's, which a child inherits from its parent
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
before = peak()
import numpy as np
from models.compact.pipeline import CompactUpscaler
from models.compact.schema import CompactRequest
from models.image import Picture
from models.options import NoOptions
from tests.models.contexts import make_context
pixels = np.random.default_rng(0).integers(0, 256, (2000, 3000, 3), np.uint8)
upscaler = CompactUpscaler.load(None, options=NoOptions(), device="cpu", dtype="float32")
upscaler.upscale(Picture(pixels=pixels), CompactRequest(image_url="x"), make_context())
print(peak() - before)
"""


def run(_servers: Servers) -> Report:
    """Measure speed, memory, what a decibel costs, and what company is worth."""
    upscaler = CompactUpscaler.load(None, options=NoOptions(), device="cpu", dtype="float32")
    seconds = _speeds(upscaler)
    figures = (
        _share(upscaler, seconds),
        _speed(seconds),
        _peak(),
        *_beside(seconds, _gain_db(upscaler)),
        *(_company(upscaler, side) for side in SMALL),
    )
    threads = torch.get_num_threads()
    return Report(
        figures=figures,
        notes=(
            f"compact: {SIDE}x{SIDE} at x2, best of {ROUNDS} rounds, {threads} threads; "
            f"load {load()}",
            "compact: decibels over Lanczos are a mean of three photographs that no training saw; "
            "FSRCNN's are those that its authors published, for other and easier pictures",
        ),
    )


def _speeds(upscaler: CompactUpscaler) -> dict[str, float]:
    """Return the seconds that each contestant takes for the same picture."""
    pixels = make_pixels(SIDE, SIDE)
    image, picture = Image.fromarray(pixels), Picture(pixels=pixels)
    request, context = CompactRequest(image_url="x"), make_context()
    matrix = torch.rand(MATRIX, MATRIX)
    network = Fsrcnn().eval().to(memory_format=torch.channels_last)
    tiles = torch.rand(9, 1, SIDE // 3, SIDE // 3).split(1)
    with torch.inference_mode():
        return _best(
            {
                "matrix": lambda: matrix @ matrix,
                "compact": lambda: upscaler.upscale(picture, request, context),
                "fsrcnn": lambda: [network(tile) for tile in tiles],
                "lanczos": lambda: image.resize((2 * SIDE, 2 * SIDE), Image.Resampling.LANCZOS),
            }
        )


def _best(contestants: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Return the seconds of each one's best round, after one that does not count."""
    best = dict.fromkeys(contestants, float("inf"))
    for number in range(ROUNDS + 1):
        for name, contestant in contestants.items():
            began = time.perf_counter()
            contestant()
            if number:
                best[name] = min(best[name], time.perf_counter() - began)
    return best


def _share(upscaler: CompactUpscaler, seconds: Mapping[str, float]) -> Figure:
    network = upscaler.networks[Variant.PHOTO, 2]
    weights = sum(each.numel() for each in network.parameters() if each.ndim == 4)
    ours = 2 * weights * SIDE**2 / seconds["compact"]
    plain = 2 * MATRIX**3 / seconds["matrix"]
    return Figure(
        name="compact x2, float32",
        measured=f"{ours / 1e9:.0f} GFLOP/s",
        baseline=f"torch's matrix product: {plain / 1e9:.0f} GFLOP/s",
        ratio=f"{ours / plain:.2f} x",
        target=f">= {SHARE:g} x",
        met=ours / plain >= SHARE,
    )


def _speed(seconds: Mapping[str, float]) -> Figure:
    speed = (2 * SIDE) ** 2 / seconds["compact"] / 1e6
    return Figure(
        name="compact x2, output",
        measured=f"{speed:.2f} MP/s",
        target=f">= {SPEED:g} MP/s on two idle cores",
        met=speed >= SPEED,
    )


def _peak() -> Figure:
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{PEAK}"],
        check=True,
        capture_output=True,
        text=True,
    )
    peak = int(done.stdout)
    return Figure(
        name="compact x2, 24 MP of output: peak memory above torch's own",
        measured=megabytes(peak),
        baseline="72 MB of it the result",
        target=f"<= {megabytes(int(MEMORY))}",
        met=peak <= MEMORY,
    )


def _gain_db(upscaler: CompactUpscaler) -> float:
    """Return the clean variant's mean gain over Lanczos at x2 on the held-out photographs."""
    gains = []
    for name in HELD_OUT:
        small, true = fidelity.reduced(photograph(name), 2, jpeg_quality=None)
        request = CompactRequest(image_url=name, variant=Variant.CLEAN)
        (ours,) = upscaler.upscale(Picture(pixels=small), request, make_context()).images
        plain = fidelity.lanczos(small, 2)
        gains.append(fidelity.psnr(ours, true, border=2) - fidelity.psnr(plain, true, border=2))
    return float(np.mean(gains))


def _beside(seconds: Mapping[str, float], gain_db: float) -> tuple[Figure, ...]:
    megapixels = (2 * SIDE) ** 2 / 1e6
    costs = {name: seconds[name] / megapixels * 1000 for name in ("compact", "lanczos", "fsrcnn")}
    ours, plain = costs["compact"] / gain_db, costs["fsrcnn"] / GAIN_DB
    return (
        Figure(
            name="compact x2 beside Lanczos",
            measured=f"{costs['compact']:.0f} ms/MP",
            baseline=f"Pillow: {costs['lanczos']:.1f} ms/MP",
            ratio=f"{costs['compact'] / costs['lanczos']:.0f} x",
        ),
        Figure(
            name="compact x2 beside FSRCNN",
            measured=f"{costs['compact']:.0f} ms/MP",
            baseline=f"FSRCNN (56, 12, 4): {costs['fsrcnn']:.0f} ms/MP",
            ratio=f"{costs['compact'] / costs['fsrcnn']:.1f} x",
        ),
        Figure(
            name="a decibel over Lanczos",
            measured=f"{ours:.0f} ms/MP ({gain_db:.2f} dB)",
            baseline=f"FSRCNN: {plain:.0f} ms/MP ({GAIN_DB:.2f} dB)",
            ratio=f"{ours / plain:.1f} x",
        ),
    )


def _company(upscaler: CompactUpscaler, side: int) -> Figure:
    """Compare jobs that share a call with the same jobs one by one."""
    request, context = CompactRequest(image_url="x"), make_context()
    count = max(2, min(32, 16384 // side**2))
    work = [
        Work(Picture(pixels=make_pixels(side, side, seed=seed)), request, context)
        for seed in range(count)
    ]
    seconds = _best(
        {
            "together": partial(upscaler.upscale_together, work),
            "alone": partial(_one_by_one, upscaler, work),
        }
    )
    together, alone = count / seconds["together"], count / seconds["alone"]
    return Figure(
        name=f"compact x2, {count} pictures of {side}x{side} in one call",
        measured=f"{together:.0f} pictures/s",
        baseline=f"one by one: {alone:.0f} pictures/s",
        ratio=f"{together / alone:.2f} x",
    )


def _one_by_one(upscaler: CompactUpscaler, work: Sequence[Work]) -> None:
    for each in work:
        upscaler.upscale(*each)
