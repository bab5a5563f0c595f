"""SeedVR2 through the whole system, on small weights in the published layout."""

from uuid import UUID

import pytest
from sqlalchemy import text

from scheduler.errors import NobodyReady
from tests.checkpoints import write_seedvr2
from tests.system.one_picture import manifest, pixels, ready, run, serve_weights, start_worker
from tests.system.system import System

ENDPOINT = "fal-ai/seedvr/upscale/image"
ARGUMENTS = {"output_format": "png", "seed": 11}


@pytest.fixture
def seedvr2(system: System) -> System:
    """A system with weights of one variant, a scheduler, and no worker."""
    return serve_weights(system, "seedvr", lambda folder: write_seedvr2(folder, variant="3b"))


def test_the_same_seed_gives_the_same_picture_however_it_is_run(seedvr2: System) -> None:
    start_worker(seedvr2, ENDPOINT)
    tiled = {"arguments": {"tile_size": 128}}

    alone = run(seedvr2, ENDPOINT, ARGUMENTS, {"destination": "alone.png"})
    bundle = run(
        seedvr2,
        ENDPOINT,
        ARGUMENTS,
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
    start_worker(seedvr2, ENDPOINT)
    run(seedvr2, ENDPOINT, ARGUMENTS, {"destination": "first.png"})
    seedvr2.processes[-1].kill()
    seedvr2.processes[-1].told = True
    start_worker(seedvr2, ENDPOINT)

    run(seedvr2, ENDPOINT, ARGUMENTS, {"destination": "second.png"})

    assert pixels(seedvr2.results / "first.png") == pixels(seedvr2.results / "second.png")


def test_a_variant_without_weights_is_refused_with_the_command_that_brings_them(
    seedvr2: System,
) -> None:
    start_worker(seedvr2, ENDPOINT)
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
