"""A worker that is told to stop: what it finishes, what it gives back, and what that costs."""

import threading
import time

from scheduler.ledger import fleet
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from tests.factories import make_batch
from tests.workers.rig import Barrier, make_stages, rig, rows, states, wait
from workers.life import Life

WAITING, SUCCEEDED = JobState.WAITING, JobState.SUCCEEDED


def drain(it, *, grace_s: float) -> tuple[threading.Thread, list[bool]]:
    """Drain in the background; the list gets whether every thread ended."""
    ended: list[bool] = []
    thread = threading.Thread(target=lambda: ended.append(it.engine.drain(grace_s)))
    thread.start()
    return thread, ended


def test_what_has_begun_is_finished_and_what_has_not_goes_back_at_once_at_no_cost(
    ledger: Ledger, settings: Settings
) -> None:
    settings = settings.model_copy(update={"fetch_threads": 1})
    batch = make_batch(ledger, 4)
    fetching = Barrier()

    def fetch(life: Life) -> None:
        if life.job.line == 1:
            fetching.pass_through()

    with rig(ledger, settings, make_stages(fetch=fetch)) as it:
        it.hand_in(it.queue(batch))
        fetching.await_arrival()
        draining, ended = drain(it, grace_s=20.0)
        began = time.monotonic()
        while states(ledger, batch)[1:] != [WAITING] * 3:
            assert time.monotonic() - began < 5.0, "the rest was not given back at once"
        fetching.open.set()
        wait(draining)

    assert ended == [True]
    assert states(ledger, batch) == [SUCCEEDED] + [WAITING] * 3
    assert {row.failures for row in rows(ledger, batch)} == {0}


def test_a_job_that_notices_in_time_is_given_back_when_the_grace_is_over(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 1)
    begun = threading.Event()

    def upscale(life: Life, _fetched: None) -> None:
        begun.set()
        while True:
            life.check_cancelled()
            time.sleep(0.01)

    with rig(ledger, settings, make_stages(upscale=upscale)) as it:
        it.hand_in(it.queue(batch))
        assert begun.wait(10)
        draining, ended = drain(it, grace_s=0.1)
        wait(draining)

    assert ended == [True]
    (row,) = rows(ledger, batch)
    assert (row.state, row.failures, row.worker_id) == (WAITING, 0, None)


def test_a_job_that_never_looks_up_is_given_back_while_it_computes_and_its_result_is_dropped(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 1)
    deaf = Barrier()
    stored: list[Life] = []
    stages = make_stages(
        upscale=lambda _life, _fetched: deaf.pass_through(),
        store=lambda life, _enlarged: stored.append(life),
    )

    with rig(ledger, settings, stages) as it:
        it.hand_in(it.queue(batch))
        deaf.await_arrival()
        draining, ended = drain(it, grace_s=0.1)
        wait(draining)
        given_back = states(ledger, batch)
        deaf.open.set()

    assert ended == [False]
    assert given_back == [WAITING]
    assert stored == []


def test_a_bundle_that_was_handed_over_but_not_claimed_goes_back_unopened(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 2)
    with rig(ledger, settings) as it:
        tickets = it.queue(batch)
        it.engine.drain(1.0)

        it.run(tickets)

    found = rows(ledger, batch)
    assert [row.state for row in found] == [WAITING] * 2
    assert {row.epoch for row in found} == {0}, "it was never claimed"


def test_a_lone_job_that_waits_for_its_turn_goes_back_unopened(
    ledger: Ledger, settings: Settings
) -> None:
    busy, suspect = make_batch(ledger, 1), make_batch(ledger, 1)
    with ledger.begin() as session:
        session.connection().exec_driver_sql(
            "update jobs set alone = true where batch_id = %s", (suspect,)
        )
    device = Barrier()
    stages = make_stages(upscale=lambda _life, _fetched: device.pass_through())

    with rig(ledger, settings, stages) as it:
        it.hand_in(it.queue(busy))
        device.await_arrival()
        lone = it.hand_in(it.queue(suspect))
        draining, _ended = drain(it, grace_s=20.0)
        wait(lone)
        device.open.set()
        wait(draining)

    assert states(ledger, busy) == [SUCCEEDED]
    (row,) = rows(ledger, suspect)
    assert (row.state, row.epoch) == (WAITING, 0)


def test_jobs_that_are_claimed_after_the_drain_go_back_and_hold_nobody_up(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 2)
    with rig(ledger, settings) as it:
        tickets = it.queue(batch)
        with ledger.begin() as locking:
            locking.connection().exec_driver_sql("lock table jobs in exclusive mode")
            claiming = it.hand_in(tickets)
            await_lock(ledger)
            it.engine.drain(0.1)

        wait(claiming)

    found = rows(ledger, batch)
    assert [row.state for row in found] == [WAITING] * 2
    assert {row.failures for row in found} == {0}


def await_lock(ledger: Ledger) -> None:
    """Wait until somebody waits for a lock."""
    waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    deadline = time.monotonic() + 10
    with ledger.autocommit() as connection:
        while not connection.exec_driver_sql(waiting).scalar_one():
            assert time.monotonic() < deadline, "nobody claimed"


def test_after_signing_off_nothing_is_left_to_lapse(ledger: Ledger, settings: Settings) -> None:
    batch = make_batch(ledger, 3)
    with rig(ledger, settings) as it:
        it.run(it.queue(batch))
        it.engine.drain(1.0)
        with ledger.begin() as session:
            fleet.sign_off(session, it.worker_id)
            alive = fleet.alive(session)

    assert alive == []
    assert states(ledger, batch) == [SUCCEEDED] * 3
