"""Schedulers die: while they lead, and while they read."""

import json
import random

import pytest

from scheduler.ledger.tables import JobState
from tests.system.invariants import check_all_succeeded, check_invariants
from tests.system.system import System, moments, photo

pytestmark = pytest.mark.faults

ROWS = 4000
UP_S = 60.0


def test_when_the_leading_scheduler_is_killed_the_other_takes_over(
    system: System, chance: random.Random, strikes: int
) -> None:
    jobs = 40 * strikes
    system.start_scheduler()
    system.start_scheduler()
    system.start_worker()
    batch = system.submit_photos(jobs)

    for moment in moments(chance, strikes, jobs=jobs):
        system.wait_until_ended(batch, moment)
        leader = system.leader()
        assert leader is not None
        leader.kill()
        system.wait_for("another leader", system.leader, within_s=UP_S)
        system.start_scheduler()

    system.wait_finished(batch)
    check_all_succeeded(system, batch)
    assert {row.epoch for row in system.rows(batch)} == {1}


def test_a_scheduler_killed_while_it_reads_a_manifest_skips_no_row_and_doubles_none(
    system: System, chance: random.Random, strikes: int
) -> None:
    system.adjust(ingest_rows=100)
    system.folder.joinpath("one.png").write_bytes(photo(1))
    manifest = system.folder / "rows.jsonl"
    source = system.folder.joinpath("one.png").as_uri()
    manifest.write_text(
        "".join(
            json.dumps({"source": source, "destination": f"{row}.png", "id": str(row)}) + "\n"
            for row in range(1, ROWS + 1)
        )
    )
    batch = system.submit(manifest)
    scheduler = system.start_scheduler()

    for moment in moments(chance, strikes, jobs=ROWS):
        system.wait_for(
            f"{moment} rows to be read",
            lambda moment=moment: system.progress(batch).total >= moment,
            within_s=UP_S,
        )
        scheduler.kill()
        assert system.progress(batch).read_at is None
        scheduler = system.start_scheduler()

    system.wait_for(
        "the end of the manifest", lambda: system.progress(batch).read_at, within_s=UP_S
    )
    system.cancel(batch)
    system.wait_finished(batch)
    check_invariants(system, batch)
    rows = system.rows(batch)
    assert [row.custom_id for row in rows] == [str(row) for row in range(1, ROWS + 1)]
    assert {row.state for row in rows} == {JobState.CANCELLED}
