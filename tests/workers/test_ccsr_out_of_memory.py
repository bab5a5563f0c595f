"""A job of CCSR on a device that is too small for it; only the lack of memory is pretended."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from PIL import Image
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from models.ccsr import recipe
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import Job, JobState
from scheduler.settings import Settings
from tests.models.ccsr.small import write_ccsr
from tests.workers.real import PHOTO, only, real_rig, submit

ENDPOINT = "fal-ai/ccsr"
PIPELINE = f"{ENDPOINT}#real-world"
TILE = 128
ARGUMENTS = {
    "tile_diffusion": "gaussian",
    "tile_diffusion_size": TILE,
    "tile_diffusion_stride": TILE // 2,
    "steps": 10,
    "t_max": 0.7,
    "t_min": 0.6,
    "scale": 4.0,  # to 120 x 80 pixels, restored at 192 x 128: two tiles
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    write_ccsr(folder / "ccsr")
    return folder


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a batch be two tiles, as it is with those of the default size."""
    monkeypatch.setattr(recipe, "PIXELS_AT_ONCE", 2 * TILE**2)


@contextmanager
def device_of(*, cells: int, side: int) -> Iterator[list[int]]:
    """Give every UNet room for so many cells at once, and every convolution for such a side.

    Yields the cells of each call of a UNet that there was room for.
    """
    seen: list[int] = []

    def check(module: nn.Module, inputs: Any) -> None:
        if isinstance(module, UNet2DConditionModel):
            batch, _, height, width = inputs[0].shape
            if batch * height * width > cells:
                raise torch.OutOfMemoryError
            seen.append(batch * height * width)
        if isinstance(module, nn.Conv2d) and max(inputs[0].shape[2:]) > side:
            raise torch.OutOfMemoryError

    hook = register_module_forward_pre_hook(check)
    try:
        yield seen
    finally:
        hook.remove()


def enlarge(ledger: Ledger, settings: Settings, weights: Path, place: Path) -> Job:
    """Run one job through a new engine, its result stored under `place`."""
    place.mkdir()
    batch = submit(
        ledger,
        place,
        PHOTO,
        endpoint=ENDPOINT,
        pipeline=PIPELINE,
        arguments=json.dumps(ARGUMENTS),
    )
    with real_rig(ledger, settings, weights=weights) as it:
        it.run(it.queue(batch, pipeline=PIPELINE))
    return only(ledger, batch)


def pixels(place: Path) -> npt.NDArray[np.int64]:
    return np.asarray(Image.open(place / "out" / "result.png")).astype(int)


def test_batches_and_the_autoencoders_tiles_are_halved_and_the_picture_is_the_same(
    ledger: Ledger, settings: Settings, weights: Path, tmp_path: Path
) -> None:
    roomy = enlarge(ledger, settings, weights, tmp_path / "large")
    with device_of(cells=16 * 16, side=110) as calls:
        job = enlarge(ledger, settings, weights, tmp_path / "small")

    assert (job.state, job.failures) == (JobState.SUCCEEDED, 0), job.error
    assert [(each.outcome or {}).get("tile_divisor") for each in (roomy, job)] == [None, 2]
    assert set(calls) == {16 * 16}
    assert np.abs(pixels(tmp_path / "small") - pixels(tmp_path / "large")).max() <= 1


def test_where_that_is_not_enough_the_tiles_are_halved_and_the_job_succeeds(
    ledger: Ledger, settings: Settings, weights: Path, tmp_path: Path
) -> None:
    with device_of(cells=2 * 8 * 8, side=2 * TILE) as calls:
        job = enlarge(ledger, settings, weights, tmp_path / "small")

    assert (job.state, job.failures) == (JobState.SUCCEEDED, 0), job.error
    assert (job.outcome or {})["tile_divisor"] == 4
    assert set(calls) == {2 * 8 * 8, 8 * 8}
    assert pixels(tmp_path / "small").shape == (80, 120, 3)


def test_a_device_without_room_for_the_smallest_tile_leaves_the_job_to_another(
    ledger: Ledger, settings: Settings, weights: Path, tmp_path: Path
) -> None:
    with device_of(cells=1, side=2 * TILE):
        job = enlarge(ledger, settings, weights, tmp_path / "small")

    assert (job.state, job.failures) == (JobState.WAITING, 1)
    assert job.error is not None
    assert job.error["code"] == "out_of_device_memory"
