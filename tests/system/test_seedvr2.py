"""SeedVR2 through the whole system, on small weights in the published layout."""

import json
from pathlib import Path
from uuid import UUID

import pytest
from PIL import Image
from sqlalchemy import text

from scheduler.errors import NobodyReady
from scheduler.ledger import fleet
from tests.checkpoints import write_seedvr2
from tests.pictures import make_pixels, save
from tests.system.system import System

ENDPOINT = "fal-ai/seedvr/upscale/image"
ARGUMENTS = {"output_format": "png", "seed": 11}


@pytest.fixture
def seedvr2(system: System) -> System:
    """A system with weights of one variant, a scheduler, and no worker."""
    weights = system.folder / "weights"
    write_seedvr2(weights / "seedvr", variant="3b")
    # Computing takes the cores from the heartbeat: these tests are about pictures, not leases.
    system.adjust(weights=str(weights), lease_s=30.0)
    system.start_scheduler()
    return system


def start_worker(system: System) -> None:
    process = system.start_real_worker(endpoints=ENDPOINT)
    system.wait_for("the worker", lambda: process.said("worker.started") and ready(system))


def ready(system: System) -> set[str]:
    with system.ledger.begin() as session:
        return set(fleet.ready_counts(session))


def manifest(folder: Path, *rows: dict[str, object]) -> Path:
    """Write a manifest of rows about one picture."""
    picture = folder / "picture.png"
    picture.write_bytes(save(make_pixels(60, 40, seed=5), "PNG"))
    path = folder / f"{len(rows)}.jsonl"
    lines = [json.dumps({"source": picture.as_uri()} | row) for row in rows]
    path.write_text("\n".join(lines))
    return path


def run(system: System, *rows: dict[str, object], within_s: float = 100) -> UUID:
    batch = system.submit(
        manifest(system.folder, *rows), endpoint=ENDPOINT, arguments=ARGUMENTS, again=True
    )
    system.wait_finished(batch, within_s=within_s)
    return batch


def pixels(path: Path) -> bytes:
    """Return a result's pixels: its file also says which job made it."""
    with Image.open(path) as picture:
        assert picture.size == (120, 80)
        return picture.tobytes()


def test_the_same_seed_gives_the_same_picture_however_it_is_run(seedvr2: System) -> None:
    start_worker(seedvr2)
    tiled = {"arguments": {"tile_size": 128}}

    alone = run(seedvr2, {"destination": "alone.png"})
    bundle = run(
        seedvr2,
        {"destination": "one.png"},
        {"destination": "another.png", "arguments": {"seed": 12}},
        {"destination": "two.png"},
        {"destination": "tiled.png", **tiled},
        {"destination": "tiled-again.png", **tiled},
    )

    results = seedvr2.results
    assert pixels(results / "alone.png") == pixels(results / "one.png")
    assert pixels(results / "one.png") == pixels(results / "two.png")
    assert pixels(results / "tiled.png") == pixels(results / "tiled-again.png")
    assert pixels(results / "another.png") != pixels(results / "one.png")
    for batch, count in ((alone, 1), (bundle, 5)):
        progress = seedvr2.progress(batch)
        assert (progress.succeeded, progress.total) == (count, count)
    row = seedvr2.rows(alone)[0]
    assert (row.pipeline, row.seed) == (f"{ENDPOINT}#3b", 11)
    assert row.outcome["body"]["seed"] == 11
    assert events(seedvr2, alone) == {
        "batch.submitted": 1,
        "job.succeeded": 1,
        "batch.finished": 1,
        "batch.reported": 1,
    }


def test_a_second_worker_makes_the_same_picture(seedvr2: System) -> None:
    start_worker(seedvr2)
    run(seedvr2, {"destination": "first.png"})
    seedvr2.processes[-1].kill()
    seedvr2.processes[-1].told = True
    start_worker(seedvr2)

    run(seedvr2, {"destination": "second.png"})

    assert pixels(seedvr2.results / "first.png") == pixels(seedvr2.results / "second.png")


def test_a_variant_without_weights_is_refused_with_the_command_that_brings_them(
    seedvr2: System,
) -> None:
    start_worker(seedvr2)
    source = manifest(seedvr2.folder, {"destination": "x.png"})

    with pytest.raises(NobodyReady, match="weights pull seedvr --variant 7b"):
        seedvr2.submit(source, endpoint=ENDPOINT, arguments={"variant": "7b"})

    assert ready(seedvr2) == {f"{ENDPOINT}#3b"}


def events(system: System, batch: UUID) -> dict[str, int]:
    with system.ledger.begin() as session:
        found = session.execute(
            text("select type, count(*) from events where batch_id = :id group by type"),
            {"id": batch},
        )
        return {row.type: row.count for row in found}
