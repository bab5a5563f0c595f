"""CCSR through the whole system, on small weights in the published layout."""

import pytest

from tests.models.ccsr.small import write_ccsr
from tests.system.one_picture import pixels, run, serve_weights, start_worker
from tests.system.system import System

ENDPOINT = "fal-ai/ccsr"
ARGUMENTS = {
    "seed": 11,
    "steps": 10,
    "tile_diffusion": "gaussian",
    "tile_diffusion_size": 64,
    "tile_diffusion_stride": 32,
}


@pytest.fixture
def ccsr(system: System) -> System:
    """A system with the weights and a scheduler, and no worker."""
    return serve_weights(system, "ccsr", write_ccsr)


def test_the_same_seed_gives_the_same_picture_however_it_is_run(ccsr: System) -> None:
    start_worker(ccsr, ENDPOINT)

    alone = run(ccsr, ENDPOINT, ARGUMENTS, {"destination": "alone.png"})
    bundle = run(
        ccsr,
        ENDPOINT,
        ARGUMENTS,
        {"destination": "one.png"},
        {"destination": "another.png", "arguments": {"seed": 12}},
        {"destination": "wavelet.png", "arguments": {"color_fix_type": "wavelet"}},
        {"destination": "two.png"},
        {"destination": "gaps.png", "arguments": {"tile_diffusion_stride": 128}},
    )

    results = {path.stem: pixels(path) for path in ccsr.results.glob("*.png")}
    assert results["alone"] == results["one"] == results["two"]
    assert len({results[name] for name in ("one", "another", "wavelet")}) == 3
    progress = ccsr.progress(bundle)
    assert (progress.succeeded, progress.rejected) == (4, 1)
    (row,) = ccsr.rows(alone)
    assert (row.pipeline, row.seed) == (f"{ENDPOINT}#real-world", 11)
    assert row.outcome["body"]["seed"] == 11
