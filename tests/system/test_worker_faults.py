"""Workers die, workers are killed by a picture, and workers are told to stop."""

import random

import pytest

from scheduler.ledger.tables import JobState
from tests.pictures import save
from tests.system.invariants import check_all_succeeded, check_invariants
from tests.system.paced import poisoned
from tests.system.system import System, moments, terminate

pytestmark = pytest.mark.faults


def test_a_worker_killed_in_mid_job_loses_nothing_and_doubles_nothing(
    system: System, chance: random.Random, strikes: int
) -> None:
    jobs = 40 * strikes
    system.start_scheduler()
    worker = system.start_worker()
    batch = system.submit_photos(jobs)

    for moment in moments(chance, strikes, jobs=jobs):
        system.wait_until_ended(batch, moment)
        system.wait_until_running(batch)
        worker.kill()
        worker = system.start_worker()

    system.wait_finished(batch)
    check_all_succeeded(system, batch)


def test_a_worker_that_is_told_to_stop_gives_back_all_it_holds_at_no_cost(
    system: System, chance: random.Random, strikes: int
) -> None:
    jobs = 60 * strikes
    system.start_scheduler()
    worker = system.start_worker()
    batch = system.submit_photos(jobs)

    for moment in moments(chance, strikes, jobs=jobs):
        system.wait_until_ended(batch, moment)
        system.wait_until_running(batch)
        assert terminate(worker) == 0
        assert system.running(batch) == 0
        worker = system.start_worker()

    system.wait_finished(batch)
    check_all_succeeded(system, batch)
    assert {row.failures for row in system.rows(batch)} == {0}


def test_a_worker_without_time_left_gives_back_what_it_still_computes(system: System) -> None:
    system.adjust(grace_s=0.5)
    system.start_scheduler()
    worker = system.start_worker(pace_s=20.0)
    batch = system.submit_photos(3)
    system.wait_until_running(batch)

    terminate(worker)

    assert not system.rows(batch, states=[JobState.RUNNING])
    assert {row.failures for row in system.rows(batch)} == {0}
    system.start_worker()
    system.wait_finished(batch)
    check_all_succeeded(system, batch)


def test_a_cancellation_of_what_runs_does_not_wait_for_the_next_heartbeat(system: System) -> None:
    system.adjust(lease_s=120.0, bundle_jobs=8)  # it beats each half a minute
    system.start_scheduler()
    system.start_worker(pace_s=1.5)
    batch = system.submit_photos(8)
    system.wait_until_running(batch)

    system.cancel(batch)

    system.wait_finished(batch, within_s=10)
    check_invariants(system, batch)
    states = [row.state for row in system.rows(batch)]
    assert states.count(JobState.SUCCEEDED) <= 3, "what the device and the store had in hand"


def test_one_picture_that_always_kills_its_worker_fails_alone_among_31_good_ones(
    system: System, chance: random.Random
) -> None:
    system.adjust(max_failures=3, bundle_jobs=32)
    folder = system.photos(32)
    killer = chance.randrange(32)
    folder.joinpath(f"{killer:04}.png").write_bytes(save(poisoned(), "PNG"))
    system.start_scheduler()
    batch = system.submit(folder)

    with system.kept_worker():
        system.wait_finished(batch, within_s=100)

    check_invariants(system, batch)
    rows = system.rows(batch)
    (failed,) = [row for row in rows if row.state != JobState.SUCCEEDED]
    assert failed.source.endswith(f"/{killer:04}.png")
    assert (failed.state, failed.error["code"]) == (JobState.FAILED, "worker_lost")
    assert (failed.failures, failed.epoch) == (2, 3), "killed together, alone, and alone again"
