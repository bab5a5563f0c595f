"""The lease by this process's own clock, and what the ledger's answer does to the jobs in hand."""

import threading

from sqlalchemy import text

from models.errors import Cancelled
from scheduler.ledger import batches, fleet, jobs
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from tests.factories import ENDPOINT, make_batch
from tests.workers.rig import Barrier, Rig, make_stages, queue, rig, rows, states, wait
from workers.heartbeat import Heartbeat, Lease
from workers.life import Life

LEASE_S = 60.0


def make_heartbeat(it: Rig, lease: Lease | None = None) -> Heartbeat:
    worker = fleet.Self(
        id=it.worker_id, name="host:1", device="cpu", memory_bytes=1, version="0", ready=(ENDPOINT,)
    )
    lease = lease or Lease(LEASE_S)
    return Heartbeat(it.ledger, lease, it.engine, lambda: worker, lease_s=LEASE_S)


def test_a_lease_counts_from_before_its_renewal_was_sent() -> None:
    now = 100.0
    lease = Lease(60.0, clock=lambda: now)
    before = lease.left_s()

    lease.renewed(sent_at=95.0)

    assert before == 0.0
    assert lease.left_s() == 55.0


def test_waiting_for_a_lease_ends_with_its_renewal() -> None:
    now = 100.0
    lease = Lease(60.0, clock=lambda: now)
    lease.renewed(sent_at=60.0)
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(lease.wait_for(30.0)))
    waiting.start()

    lease.renewed(sent_at=100.0)
    waiting.join(10)

    assert answers == [True]


def test_waiting_for_a_lease_is_given_up_when_it_lapses() -> None:
    clock = iter([0.0, 0.0, 59.95, 60.1])
    lease = Lease(60.0, clock=lambda: next(clock))
    lease.renewed(sent_at=0.0)
    assert lease.left_s() == 60.0

    assert lease.wait_for(30.0) is False


def test_a_beat_registers_the_worker_and_pushes_its_lease(
    ledger: Ledger, settings: Settings
) -> None:
    lease = Lease(LEASE_S)
    with rig(ledger, settings) as it:
        with ledger.begin() as session:
            fleet.sign_off(session, it.worker_id)

        make_heartbeat(it, lease).beat()

        with ledger.begin() as session:
            left_s = session.scalar(
                text(
                    "select extract(epoch from expires_at - clock_timestamp()) from leases"
                    " where worker_id = :id"
                ),
                {"id": it.worker_id},
            )
            (worker,) = fleet.alive(session)
    assert LEASE_S - 5 < float(left_s) <= LEASE_S
    assert LEASE_S - 5 < lease.left_s() <= LEASE_S
    assert sorted(worker.ready) == [ENDPOINT]


def looking(device: Barrier, noticed: list[str]):
    """Return an upscale stage that looks up once it is let through."""

    def upscale(life: Life, _fetched: None) -> None:
        device.pass_through()
        try:
            life.check_cancelled()
        except Cancelled:
            noticed.append(str(life.unwanted))
            raise

    return upscale


def test_a_job_whose_batch_is_cancelled_stops_in_the_middle_and_ends_as_cancelled(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 1)
    device, noticed = Barrier(), []

    with rig(ledger, settings, make_stages(upscale=looking(device, noticed))) as it:
        run = it.hand_in(it.queue(batch))
        device.await_arrival()
        with ledger.begin() as session:
            batches.cancel(session, batch)
        make_heartbeat(it).beat()
        device.open.set()
        wait(run)

    assert noticed == ["cancelled"]
    assert states(ledger, batch) == [JobState.CANCELLED]


def test_a_job_that_was_lost_to_another_worker_is_discarded(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 1)
    device, noticed = Barrier(), []

    with rig(ledger, settings, make_stages(upscale=looking(device, noticed))) as it:
        run = it.hand_in(it.queue(batch))
        device.await_arrival()
        with ledger.begin() as session:
            session.execute(text("update jobs set state = 'waiting', worker_id = null"))
        make_heartbeat(it).beat()
        device.open.set()
        wait(run)

    assert noticed == ["lost"]
    assert states(ledger, batch) == [JobState.WAITING]


def test_the_result_of_a_job_that_was_lost_unnoticed_changes_nothing(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 1)
    device = Barrier()
    stages = make_stages(upscale=lambda _life, _fetched: device.pass_through())

    with rig(ledger, settings, stages) as it:
        run = it.hand_in(it.queue(batch))
        device.await_arrival()
        with ledger.begin() as session:
            session.execute(text("update jobs set state = 'waiting', worker_id = null"))
        device.open.set()
        wait(run)

    (row,) = rows(ledger, batch)
    assert (row.state, row.outcome) == (JobState.WAITING, None)


def test_jobs_that_the_ledger_says_we_hold_but_we_know_nothing_of_go_back_after_two_beats(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 2)
    with rig(ledger, settings) as it:
        tickets = [each.ticket for each in queue(ledger, batch)]
        with ledger.begin() as session:
            jobs.claim(session, tickets, worker_id=it.worker_id, deadline_s=60)
        heartbeat = make_heartbeat(it)

        heartbeat.beat()
        after_one = states(ledger, batch)
        heartbeat.beat()

    assert after_one == [JobState.RUNNING] * 2
    found = rows(ledger, batch)
    assert [row.state for row in found] == [JobState.WAITING] * 2
    assert {row.failures for row in found} == {0}


def test_a_heartbeat_goes_on_after_the_ledger_was_away(ledger: Ledger, settings: Settings) -> None:
    short = settings.model_copy(update={"lease_s": 0.4})
    beats = threading.Semaphore(0)
    with rig(ledger, short) as it:

        def describe() -> fleet.Self:
            beats.release()
            return fleet.Self(
                id=it.worker_id, name="host:1", device="cpu", memory_bytes=1, version="0"
            )

        own = Ledger(settings, connections=1)
        heartbeat = Heartbeat(own, Lease(0.4), it.engine, describe, lease_s=0.4)
        heartbeat.start(threading.Event())
        with ledger.begin() as session:  # what the server does to its clients when it restarts
            session.execute(
                text(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and pid <> pg_backend_pid()"
                )
            )
        got = [beats.acquire(timeout=10) for _ in range(4)]
        heartbeat.stop()
        own.close()

    assert got == [True] * 4
