"""Creative on the CPU: its loop beside diffusers' pipeline, and whole jobs with and without CCSR.

The networks are small, random and in float32: only ratios, and shares of one another, say anything.
Memory is predicted for the real sizes (see `tests.prediction`).
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from models.checkpoint.manifest import LocalWeights, look
from models.creative.options import CreativeOptions
from models.creative.pipeline import OVERLAP, CreativeUpscaler
from models.creative.schema import CreativeRequest
from models.creative.weights import MANIFEST, SD15
from models.tiling.fuse import Mosaic, side_bell, spread
from models.upscaler import Result, Work
from tests.benchmarks.clarity import make_networks, make_task, race, seconds
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.servers import Servers
from tests.models.contexts import load_upscaler, make_context
from tests.models.creative.small import write_creative
from tests.models.creative.test_predicted import predict_turns
from tests.pictures import make_picture

HEIGHT, WIDTH, TILE = 32, 48, 32
"""Of the latent, in cells: two tiles."""
ROUNDS = 2
SIDE = 160
"""Of a whole job's input; the result has twice the sides: four tiles."""
ARGUMENTS: dict[str, Any] = {"prompt": "owl", "num_inference_steps": 8}
PREDICTED_SIDE = 1024
"""Of the result whose memory is predicted."""


def run(_servers: Servers) -> Report:
    """Take about a minute of CPU time, most of it CCSR's."""
    boxes = spread(HEIGHT, WIDTH, tile_height=TILE, tile_width=TILE, overlap=OVERLAP)
    mosaic = Mosaic(boxes=boxes, weights=side_bell(TILE, TILE).float(), at_once=2)
    loop = race("Creative", make_networks(), make_task(mosaic, HEIGHT, WIDTH), rounds=ROUNDS)
    with TemporaryDirectory() as folder:
        job = whole_job(Path(folder))
    return Report(
        figures=(*loop, job, *memory()),
        notes=(
            f"creative: the loop's networks have a fifth of the channels (best of {ROUNDS}), the "
            f"job's a tenth; memory is predicted for real sizes; load {load()}",
        ),
    )


def whole_job(folder: Path) -> Figure:
    """Time a job, and CCSR's part of it."""
    upscaler = load_creative(write_creative(folder / "creative"))
    ccsr = load_upscaler("fal-ai/ccsr", folder / "ccsr")
    restoring = []

    def borrow(_endpoint: str, work: Work) -> Result:
        began = time.process_time()
        made = ccsr.upscale(*work)
        restoring.append(time.process_time() - began)
        return made

    request = CreativeRequest(image_url="x", **ARGUMENTS)
    context = make_context(seed=5, borrow=borrow)
    whole = seconds(lambda: upscaler.upscale(make_picture(SIDE, SIDE), request, context))
    without = whole - sum(restoring)
    return Figure(
        name="Creative with CCSR's 17 calls before, CPU time",
        measured=f"{whole:.2f} s",
        baseline=f"without: {without:.2f} s",
        ratio=f"{whole / without:.2f} x as long",
    )


def load_creative(folder: Path) -> CreativeUpscaler:
    options = CreativeOptions.model_validate(
        {"tile": TILE, "enlarger": "lanczos", "captioner": "none", "safety_checker": False}
    )
    files = look(options.parts(MANIFEST.variant(None)), folder)
    weights = LocalWeights(variant=SD15, files=files)
    return CreativeUpscaler.load(weights, options=options, device="cpu", dtype="float32")


def memory() -> list[Figure]:
    """Predict what a job takes of a device, by pass, in turns and side by side."""
    apart, together = (
        predict_turns(PREDICTED_SIDE, together=together) for together in (False, True)
    )
    return [
        Figure(
            name=f"Creative and CCSR in turns, {name} {PREDICTED_SIDE} x {PREDICTED_SIDE}",
            measured=f"{apart[name] / 2**30:.1f} GiB",
            baseline=f"both resident: {most / 2**30:.1f} GiB",
            ratio=f"{apart[name] / most:.2f} x",
        )
        for name, most in together.items()
    ]
