"""Creative through the whole system, on small weights in the published layouts."""

import pytest

from tests.models.clarity.small import write_lora
from tests.models.creative.small import write_creative
from tests.system.one_picture import pixels, ready, run, serve_weights, start_worker
from tests.system.system import System

ENDPOINT = "fal-ai/creative-upscaler"
ARGUMENTS = {"seed": 11, "num_inference_steps": 2, "skip_ccsr": True, "prompt": "owl"}


@pytest.fixture
def creative(system: System) -> System:
    """A system with the weights of Stable Diffusion 1.5 alone, a scheduler, and no worker."""
    options = {ENDPOINT: {"enlarger": "compact", "ccsr": False, "captioner": "none"}}
    system.adjust(options=options, brought_weights=str(system.folder / "brought"))
    return serve_weights(system, "creative", write_creative)


def test_weights_that_a_job_brings_leave_no_trace_in_the_next(creative: System) -> None:
    style = write_lora(creative.folder / "style.safetensors", seed=9)
    page = creative.folder / "page.safetensors"
    page.write_text("<html>no weights</html>")
    start_worker(creative, f"{ENDPOINT},enlarger/compact")

    batch = run(
        creative,
        ENDPOINT,
        ARGUMENTS,
        {"destination": "one.png"},
        {"destination": "styled.png", "arguments": {"additional_lora_url": style.as_uri()}},
        {"destination": "two.png"},
        {"destination": "page.png", "arguments": {"additional_lora_url": page.as_uri()}},
        {"destination": "base.png", "arguments": {"base_model_url": style.as_uri()}},
        {"destination": "huge.png", "arguments": {"scale": 5, "skip_ccsr": False}},
    )

    results = {path.stem: pixels(path) for path in creative.results.glob("*.png")}
    rows = {row.line: row for row in creative.rows(batch)}
    assert results["one"] == results["two"] != results["styled"]
    assert set(results) == {"one", "two", "styled"}
    assert {line: rows[line].error["field"] for line in (4, 5, 6)} == {
        4: "additional_lora_url",
        5: "base_model_url",
        6: "skip_ccsr",
    }
    assert "but a LoRA" in rows[5].error["message"]
    assert ready(creative) >= {f"{ENDPOINT}#SD_1_5"}
    assert f"{ENDPOINT}#SDXL" not in ready(creative)
