"""Clarity through the whole system, on small weights in the published layouts."""

from pathlib import Path

import pytest

from tests.models.clarity.small import write_clarity
from tests.system.one_picture import pixels, run, serve_weights, start_worker
from tests.system.system import System

ENDPOINT = "fal-ai/clarity-upscaler"
ARGUMENTS = {"seed": 11, "num_inference_steps": 4}


def write(folder: Path) -> Path:
    """Write the default files, and a LoRA that prompts may ask for."""
    write_clarity(folder)
    (folder / "style.safetensors").write_bytes((folder / "more_details.safetensors").read_bytes())
    return folder


@pytest.fixture
def clarity(system: System) -> System:
    """A system with the weights and a scheduler, and no worker."""
    options = {ENDPOINT: {"enlarger": "compact", "offered_loras": ["style"]}}
    system.adjust(options=options)
    return serve_weights(system, "clarity", write)


def test_a_lora_of_one_job_leaves_no_trace_in_the_next(clarity: System) -> None:
    start_worker(clarity, f"{ENDPOINT},enlarger/compact")

    batch = run(
        clarity,
        ENDPOINT,
        ARGUMENTS,
        {"destination": "one.png"},
        {"destination": "styled.png", "arguments": {"prompt": "owl <lora:style:2>"}},
        {"destination": "two.png"},
        {"destination": "long.png", "arguments": {"prompt": "owl " * 1600}},
        {"destination": "three.png", "arguments": {"enable_safety_checker": False}},
    )

    results = {path.stem: pixels(path) for path in clarity.results.glob("*.png")}
    assert results["one"] == results["two"] == results["three"] != results["styled"]
    progress = clarity.progress(batch)
    assert (progress.succeeded, progress.failed) == (4, 1)
    outcomes = {row.line: row for row in clarity.rows(batch)}
    assert outcomes[4].error["field"] == "prompt"
    assert "denoising" in outcomes[1].outcome["body"]["timings"]
