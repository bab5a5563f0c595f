"""A whole job of Creative on the CPU, beside a plain pass over the same networks.

The networks have a tenth of the channels of the real ones, random, in float32: only ratios, and
shares of one another, say anything.
"""

import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from models.checkpoint.manifest import LocalWeights, look
from models.creative.options import CreativeOptions
from models.creative.pipeline import CreativeUpscaler
from models.creative.schema import CreativeRequest
from models.creative.weights import MANIFEST, SD15
from models.upscaler import Upscaler
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.servers import Servers
from tests.models.contexts import load_upscaler, make_context
from tests.models.creative import naive
from tests.models.creative.small import write_creative
from tests.pictures import make_picture

SIDE = 160
"""Of the input; the result has twice the sides: four tiles of 32 x 32 cells."""
TILE = 32
ROUNDS = 2
ARGUMENTS: dict[str, Any] = {
    "prompt": "owl",
    "num_inference_steps": 8,
    "detail": 0.0,
    "prompt_suffix": "",
    "shape_preservation": 1.0,
    "enable_safety_checks": False,
}


def run(_servers: Servers) -> Report:
    """Enlarge a picture in turn by each way; the best round of each counts, in CPU time."""
    with TemporaryDirectory() as folder:
        upscaler = load_creative(write_creative(Path(folder) / "creative"))
        ccsr = load_upscaler("fal-ai/ccsr", Path(folder) / "ccsr")
        ours, plain = [], []
        with torch.inference_mode():
            for _ in range(ROUNDS):
                ours.append(seconds(lambda: enlarge(upscaler, ccsr, skip_ccsr=True)))
                plain.append(seconds(lambda: plainly(upscaler)))
            whole = seconds(lambda: enlarge(upscaler, ccsr, skip_ccsr=False))
    best, base = min(ours), min(plain)
    return Report(
        figures=(
            Figure(
                name="Creative without CCSR, five calls of 4 tiles, CPU time",
                measured=f"{best:.2f} s",
                baseline=f"plain pass: {base:.2f} s",
                ratio=f"{base / best:.2f} x as fast",
                target=">= 1 x",
                met=base / best >= 1,
            ),
            Figure(
                name="Creative with CCSR's 17 calls before, CPU time",
                measured=f"{whole:.2f} s",
                baseline=f"without: {best:.2f} s",
                ratio=f"{whole / best:.2f} x as long",
            ),
        ),
        notes=(f"creative: networks of a tenth of the channels, best of {ROUNDS}; load {load()}",),
    )


def load_creative(folder: Path) -> CreativeUpscaler:
    options = CreativeOptions.model_validate(
        {"tile": TILE, "enlarger": "lanczos", "captioner": "none", "safety_checker": False}
    )
    files = look(options.parts(MANIFEST.variant(None)), folder)
    weights = LocalWeights(variant=SD15, files=files)
    return CreativeUpscaler.load(weights, options=options, device="cpu", dtype="float32")


def enlarge(upscaler: CreativeUpscaler, ccsr: Upscaler, *, skip_ccsr: bool) -> None:
    request = CreativeRequest(image_url="x", skip_ccsr=skip_ccsr, **ARGUMENTS)
    context = make_context(seed=5, borrow=lambda _, work: ccsr.upscale(*work))
    upscaler.upscale(make_picture(SIDE, SIDE), request, context)


def plainly(upscaler: CreativeUpscaler) -> None:
    """Do what a first version would: tile by tile, prompt by prompt, the hint at every step."""
    request = CreativeRequest(image_url="x", skip_ccsr=True, **ARGUMENTS)
    picture = Image.fromarray(make_picture(SIDE, SIDE).pixels)
    worked = np.asarray(picture.resize((2 * SIDE, 2 * SIDE), Image.Resampling.LANCZOS))
    conditions = [
        upscaler.texts.condition(text, field="prompt") for text in ("owl", request.negative_prompt)
    ]
    naive.diffuse(upscaler, worked, request, conditions, 5, scaling=0.18215)


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began
