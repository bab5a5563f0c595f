"""Copies of earlier results, while workers die and what was to be copied changes."""

import random
from pathlib import Path

import pytest

from scheduler.ledger.tables import JobState
from tests.system.invariants import check_all_succeeded, objects
from tests.system.system import System, moments

pytestmark = pytest.mark.faults


def test_whatever_happens_to_workers_and_earlier_results_each_row_gets_its_own_picture(
    system: System, chance: random.Random, strikes: int
) -> None:
    jobs = 20 * strikes
    photos = system.photos(jobs)
    system.start_scheduler()
    worker = system.start_worker(pace_s=0.0)
    first = system.submit(photos)
    system.wait_finished(first)
    spoilt = _spoil(sorted(system.results.glob("*.png")), chance)

    second = system.submit(photos, destination=(system.folder / "again").as_uri())
    for moment in moments(chance, strikes, jobs=jobs):
        system.wait_until_ended(second, moment)
        worker.kill()
        worker = system.start_worker(pace_s=0.0)
    system.wait_finished(second)

    check_all_succeeded(system, second)
    rows = system.rows(second, states=[JobState.SUCCEEDED])
    copied = {row.destination for row in rows if "reused_from" in row.outcome}
    assert 0 < system.progress(second).reused == len(copied) <= jobs - len(spoilt)
    assert not [place for place in copied if Path(place).name in spoilt]
    assert {len(objects(row)) for row in rows} == {1}


def _spoil(results: list[Path], chance: random.Random) -> set[str]:
    """Delete some results and put others' bytes in the place of some; return their names."""
    chance.shuffle(results)
    gone, swapped = results[:4], results[4:8]
    other = results[8].read_bytes()
    for path in gone:
        path.unlink()
    for path in swapped:
        path.write_bytes(other)
    return {path.name for path in [*gone, *swapped]}
