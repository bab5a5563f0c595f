"""Creative and the CCSR that is lent to it, in one worker; only the budget is pretended."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from models.catalog import ENDPOINTS
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from tests.models.ccsr.small import FILE, write_ccsr
from tests.models.creative.small import write_creative
from tests.workers.real import PHOTO, only, real_rig, submit
from tests.workers.rig import Rig

ENDPOINT, RESTORER = "fal-ai/creative-upscaler", "fal-ai/ccsr"
PIPELINE = f"{ENDPOINT}#SD_1_5"
QUICK = replace(ENDPOINTS[RESTORER], pipeline="tests.models.ccsr.quick:QuickCcsr")
CHOSEN = {
    ENDPOINT: {"captioner": "none", "safety_checker": False, "tile": 32, "enlarger": "lanczos"}
}
ARGUMENTS = {"num_inference_steps": 1, "prompt": "owl", "scale": 1.5}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_ccsr(folder / "ccsr")
    write_creative(folder / "creative")
    return folder


@contextmanager
def watched() -> Iterator[list[int]]:
    """Yield how many UNets there are whenever another one is called than before."""
    alive: WeakSet[nn.Module] = WeakSet()
    last: WeakSet[nn.Module] = WeakSet()
    counts: list[int] = []

    def note(module: nn.Module, _inputs: Any) -> None:
        if isinstance(module, UNet2DConditionModel) and module not in last:
            alive.add(module)
            last.clear()
            last.add(module)
            counts.append(len(alive))

    hook = register_module_forward_pre_hook(note)
    try:
        yield counts
    finally:
        hook.remove()


def run(
    ledger: Ledger,
    settings: Settings,
    weights: Path,
    place: Path,
    *,
    budget_bytes: int,
    skipping: Sequence[bool],
) -> tuple[list[bytes], list[int]]:
    """Enlarge a picture several times by one worker, some without CCSR.

    Returns:
        The results, and how many UNets there were each time that another one had its turn.
    """
    endpoints = {**ENDPOINTS, RESTORER: QUICK}
    with (
        watched() as counts,
        real_rig(
            ledger,
            settings,
            endpoints=endpoints,
            weights=weights,
            chosen=CHOSEN,
            budget_bytes=budget_bytes,
        ) as it,
    ):
        made = [
            enlarge(it, place / str(number), skip_ccsr=skipped)
            for number, skipped in enumerate(skipping)
        ]
    return made, counts


def enlarge(it: Rig, folder: Path, *, skip_ccsr: bool) -> bytes:
    folder.mkdir(parents=True)
    arguments = json.dumps(ARGUMENTS | {"skip_ccsr": skip_ccsr})
    batch = submit(
        it.ledger, folder, PHOTO, endpoint=ENDPOINT, pipeline=PIPELINE, arguments=arguments
    )
    it.run(it.queue(batch, pipeline=PIPELINE))
    job = only(it.ledger, batch)
    assert (job.state, job.failures) == (JobState.SUCCEEDED, 0), job.error
    assert f"ccsr/{FILE}" in (job.outcome or {})["weights"]
    with Image.open(folder / "out" / "result.png") as picture:
        return picture.tobytes()


def test_the_pictures_are_the_same_whether_both_stay_or_one_at_a_time_is_there(
    ledger: Ledger, settings: Settings, weights: Path, tmp_path: Path
) -> None:
    (skipped, together), roomy = run(
        ledger,
        settings,
        weights,
        tmp_path / "roomy",
        budget_bytes=2**30,
        skipping=(True, False),
    )
    apart, tight = run(
        ledger, settings, weights, tmp_path / "tight", budget_bytes=1, skipping=(False, False)
    )

    assert apart == [together] * 2
    assert together != skipped
    assert roomy == [1, 2, 2]
    assert tight == [1, 1, 2, 1], "CCSR has left before diffusion begins, and comes back"
