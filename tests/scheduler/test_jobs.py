from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from scheduler.ledger import batches, fleet, jobs, queueing, retries
from scheduler.ledger.jobs import Claimed, Ending, Release, Ticket
from scheduler.ledger.queueing import Line
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.tables import Event, Job, JobState
from scheduler.steering import Steerer
from tests.factories import ENDPOINT, make_batch, make_worker


def queue(ledger: Ledger, batch_id: UUID, limit: int = 100) -> list[Ticket]:
    with ledger.begin() as session:
        now = database_time(session)
        return [
            job.ticket
            for job in queueing.take(session, Line(batch_id, ENDPOINT), limit=limit, now=now)
        ]


def claim(ledger: Ledger, tickets: list[Ticket], worker: UUID) -> list[Claimed]:
    with ledger.begin() as session:
        return jobs.claim(session, tickets, worker_id=worker, deadline_s=60)


def finish(ledger: Ledger, ticket: Ticket, worker: UUID | None = None) -> set[UUID]:
    with ledger.begin() as session:
        return jobs.finish(
            session, [Ending(ticket=ticket, state=JobState.SUCCEEDED)], worker_id=worker
        )


def read(ledger: Ledger, job_id: UUID) -> Job:
    with ledger.begin() as session:
        return session.get_one(Job, job_id)


def test_only_the_first_of_two_deliveries_claims_a_job(ledger: Ledger) -> None:
    tickets = queue(ledger, make_batch(ledger, 1))
    one, two = make_worker(ledger), make_worker(ledger)

    first = claim(ledger, tickets, one)
    second = claim(ledger, tickets, two)

    assert [job.id for job in first] == [tickets[0].job_id]
    assert second == []
    job = read(ledger, tickets[0].job_id)
    assert (job.state, job.worker_id, job.epoch) == ("running", one, 1)


def test_a_claim_keeps_the_order_of_its_bundle(ledger: Ledger) -> None:
    tickets = queue(ledger, make_batch(ledger, 20))[::-1]

    claimed = claim(ledger, tickets, make_worker(ledger))

    assert [job.id for job in claimed] == [ticket.job_id for ticket in tickets]


def test_a_message_of_an_earlier_epoch_claims_nothing(ledger: Ledger) -> None:
    batch = make_batch(ledger, 1)
    stale = queue(ledger, batch)
    worker = make_worker(ledger)
    held = claim(ledger, stale, worker)[0]
    with ledger.begin() as session:
        jobs.release(session, [Release(ticket=held.ticket)], worker_id=worker)
    queue(ledger, batch)

    assert claim(ledger, stale, worker) == []


def test_a_job_of_a_cancelled_batch_cannot_be_claimed(ledger: Ledger) -> None:
    batch = make_batch(ledger, 1)
    tickets = queue(ledger, batch)
    with ledger.begin() as session:
        batches.cancel(session, batch)

    assert claim(ledger, tickets, make_worker(ledger)) == []


def test_who_lost_the_job_cannot_complete_it(ledger: Ledger) -> None:
    batch = make_batch(ledger, 1)
    slow, quick = make_worker(ledger, lease_s=0.001), make_worker(ledger)
    lost = claim(ledger, queue(ledger, batch), slow)[0]
    lapse(ledger, timedelta(seconds=1))
    wait_until_due(ledger)
    held = claim(ledger, queue(ledger, batch), quick)[0]

    late = finish(ledger, lost.ticket, slow)
    good = finish(ledger, held.ticket, quick)

    assert (late, good) == (set(), {held.id})


def lapse(ledger: Ledger, ahead: timedelta, max_failures: int = 3) -> tuple[int, int]:
    from scheduler.settings import Settings
    from scheduler.sweep import lapse as sweep_lapse

    with ledger.begin() as session:
        before = session.scalar(text("select count(*) from jobs where state = 'waiting'"))
        failed = session.scalar(text("select count(*) from jobs where state = 'failed'"))
        now = database_time(session) + ahead
        sweep_lapse(session, now, Settings(max_failures=max_failures))
        after = session.scalar(text("select count(*) from jobs where state = 'waiting'"))
        dead = session.scalar(text("select count(*) from jobs where state = 'failed'"))
    return after - before, dead - failed


def test_a_completion_writes_outcome_event_and_counters_together(ledger: Ledger) -> None:
    batch = make_batch(ledger, 2)
    worker = make_worker(ledger)
    held = claim(ledger, queue(ledger, batch), worker)
    endings = [
        Ending(
            ticket=held[0].ticket,
            state=JobState.SUCCEEDED,
            outcome='{"objects": []}',
            bytes_out=10,
            device_s=0.5,
        ),
        Ending(ticket=held[1].ticket, state=JobState.FAILED, error='{"code": "x"}', device_s=0.25),
    ]

    with ledger.begin() as session:
        ended = jobs.finish(session, endings, worker_id=worker)

    assert ended == {job.id for job in held}
    with ledger.begin() as session:
        progress = batches.progress(session, batch)
        events = session.query(Event).filter(Event.job_id.is_not(None)).order_by(Event.type).all()
    assert (progress.total, progress.succeeded, progress.failed) == (2, 1, 1)
    assert (progress.bytes_out, progress.device_s) == (10, 0.75)
    assert [(event.type, event.job_id) for event in events] == [
        ("job.failed", held[1].id),
        ("job.succeeded", held[0].id),
    ]
    assert read(ledger, held[0].id).outcome == {"objects": []}


def test_a_second_completion_changes_nothing(ledger: Ledger) -> None:
    batch = make_batch(ledger, 1)
    worker = make_worker(ledger)
    held = claim(ledger, queue(ledger, batch), worker)[0]
    finish(ledger, held.ticket, worker)

    again = finish(ledger, held.ticket, worker)

    assert again == set()
    with ledger.begin() as session:
        assert batches.progress(session, batch).succeeded == 1


@pytest.mark.parametrize(("failed", "failures"), [(True, 1), (False, 0)])
def test_only_a_failed_release_costs_a_failure(
    ledger: Ledger, *, failed: bool, failures: int
) -> None:
    worker = make_worker(ledger)
    held = claim(ledger, queue(ledger, make_batch(ledger, 1)), worker)[0]

    with ledger.begin() as session:
        jobs.release(session, [Release(ticket=held.ticket, failed=failed)], worker_id=worker)

    job = read(ledger, held.id)
    assert (job.state, job.failures, job.epoch) == ("waiting", failures, 1)


def test_a_job_that_backs_off_is_not_queued_before_its_time(ledger: Ledger) -> None:
    batch = make_batch(ledger, 1)
    worker = make_worker(ledger)
    held = claim(ledger, queue(ledger, batch), worker)[0]
    with ledger.begin() as session:
        jobs.release(session, [Release(ticket=held.ticket, wait_s=60)], worker_id=worker)

    early = queue(ledger, batch)
    with ledger.begin() as session:
        later = database_time(session) + timedelta(seconds=61)
        due = queueing.take(session, Line(batch, ENDPOINT), limit=9, now=later)

    assert early == []
    assert [job.ticket.job_id for job in due] == [held.id]


def test_a_lapsed_lease_puts_a_job_back_to_run_alone(ledger: Ledger) -> None:
    batch = make_batch(ledger, 1)
    held = claim(ledger, queue(ledger, batch), make_worker(ledger, lease_s=10))[0]

    early = lapse(ledger, timedelta(seconds=5))
    late = lapse(ledger, timedelta(seconds=11))

    assert (early, late) == ((0, 0), (1, 0))
    job = read(ledger, held.id)
    assert (job.state, job.failures, job.alone) == ("waiting", 1, True)


def test_a_job_past_its_deadline_is_taken_from_a_living_worker(ledger: Ledger) -> None:
    claim(ledger, queue(ledger, make_batch(ledger, 1)), make_worker(ledger, lease_s=1000))

    assert lapse(ledger, timedelta(seconds=61)) == (1, 0)


def test_the_lapse_that_uses_up_the_budget_fails_the_job(ledger: Ledger) -> None:
    batch = make_batch(ledger, 1)
    for _ in range(2):
        claim(ledger, queue(ledger, batch), make_worker(ledger, lease_s=0.001))
        assert lapse(ledger, timedelta(seconds=1)) == (1, 0)
        wait_until_due(ledger)
    held = claim(ledger, queue(ledger, batch), make_worker(ledger, lease_s=0.001))[0]

    assert lapse(ledger, timedelta(seconds=1)) == (0, 1)
    job = read(ledger, held.id)
    assert (job.state, job.error["code"]) == ("failed", "worker_lost")
    with ledger.begin() as session:
        assert batches.progress(session, batch).failed == 1


def test_a_job_whose_batch_allows_no_second_try_fails_with_its_first_lapse(
    ledger: Ledger,
) -> None:
    batch = make_batch(ledger, 1, options='{"max_failures": 1}')
    claim(ledger, queue(ledger, batch), make_worker(ledger, lease_s=0.001))

    assert lapse(ledger, timedelta(seconds=1)) == (0, 1)


def wait_until_due(ledger: Ledger) -> None:
    with ledger.begin() as session:
        session.execute(text("update jobs set run_after = now()"))


def test_a_worker_that_signed_off_holds_no_lease(ledger: Ledger) -> None:
    worker = make_worker(ledger, lease_s=1000)
    claim(ledger, queue(ledger, make_batch(ledger, 1)), worker)
    with ledger.begin() as session:
        fleet.sign_off(session, worker)

    assert lapse(ledger, timedelta()) == (1, 0)
    with ledger.begin() as session:
        assert fleet.alive(session) == []


def test_the_heartbeat_learns_of_cancellations(ledger: Ledger) -> None:
    batch = make_batch(ledger, 1)
    worker = make_worker(ledger)
    held = claim(ledger, queue(ledger, batch), worker)[0]
    with ledger.begin() as session:
        before = fleet.held_by(session, worker)
        batches.cancel(session, batch)
        after = fleet.held_by(session, worker)

    assert (before, after) == ({held.ticket: False}, {held.ticket: True})


def test_a_lost_message_costs_no_failure(ledger: Ledger) -> None:
    batch = make_batch(ledger, 1)
    tickets = queue(ledger, batch)

    with ledger.begin() as session:
        queueing.unqueue(session, tickets)

    job = read(ledger, tickets[0].job_id)
    assert (job.state, job.failures, job.epoch) == ("waiting", 0, 0)
    assert queue(ledger, batch) == tickets


def test_unqueue_spares_what_was_queued_again_since(ledger: Ledger) -> None:
    tickets = queue(ledger, make_batch(ledger, 1))

    with ledger.begin() as session:
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        moved = queueing.unqueue(session, tickets, before=long_ago)

    assert moved == set()


def test_a_short_bundle_is_topped_up_from_the_queued_rows(ledger: Ledger) -> None:
    tickets = queue(ledger, make_batch(ledger, 4))
    claim(ledger, tickets[:1], make_worker(ledger))

    with ledger.begin() as session:
        more = queueing.more_queued(session, ENDPOINT, limit=2)

    assert len(more) == 2
    assert set(more) <= set(tickets[1:])


def test_an_unknown_ticket_does_no_harm(ledger: Ledger) -> None:
    ghost = Ticket(uuid7(), 0)

    assert claim(ledger, [ghost], make_worker(ledger)) == []
    assert finish(ledger, ghost) == set()


def test_retry_gives_failed_jobs_a_fresh_budget(ledger: Ledger) -> None:
    batch = make_batch(ledger, 2)
    worker = make_worker(ledger)
    held = claim(ledger, queue(ledger, batch), worker)
    with ledger.begin() as session:
        jobs.finish(
            session,
            [
                Ending(ticket=held[0].ticket, state=JobState.FAILED, error="{}"),
                Ending(ticket=held[1].ticket, state=JobState.SUCCEEDED),
            ],
        )
        batches.fold(session)
        assert batches.end_complete(session) == [batch]

    with ledger.begin() as session:
        count = retries.retry(session, batch, [JobState.FAILED])
    assert Steerer(ledger).step()

    with ledger.begin() as session:
        progress = batches.progress(session, batch)
    assert count == 1
    assert (progress.state, progress.failed, progress.succeeded) == ("open", 0, 1)
    assert [ticket.job_id for ticket in queue(ledger, batch)] == [held[0].id]


def entries_read(session: Session, index: str) -> int:
    """Count the entries of an index that this transaction has read so far."""
    counter = text("select pg_stat_get_xact_tuples_returned(cast(cast(:name as text) as regclass))")
    return int(session.scalar(counter, {"name": index}) or 0)


def test_a_claim_reads_no_job_of_the_queue_but_its_own(ledger: Ledger) -> None:
    tickets = queue(ledger, make_batch(ledger, 500), limit=500)
    worker = make_worker(ledger)

    with ledger.begin() as session:
        claimed = jobs.claim(session, tickets[:8], worker_id=worker, deadline_s=60)
        entries = entries_read(session, "ix_jobs_queued")

    assert len(claimed) == 8
    assert entries == 0


def test_a_completion_reads_no_job_of_its_worker_but_its_own(ledger: Ledger) -> None:
    tickets = queue(ledger, make_batch(ledger, 500), limit=500)
    worker = make_worker(ledger)
    held = claim(ledger, tickets, worker)
    endings = [Ending(ticket=job.ticket, state=JobState.SUCCEEDED) for job in held[:8]]

    with ledger.begin() as session:
        ended = jobs.finish(session, endings, worker_id=worker)
        entries = entries_read(session, "ix_jobs_running")

    assert len(ended) == 8
    assert entries == 0


def test_a_statement_on_its_own_is_committed_at_once(ledger: Ledger) -> None:
    tickets = queue(ledger, make_batch(ledger, 1))
    worker = make_worker(ledger)

    with ledger.autocommit(durable=False) as connection:
        jobs.claim(connection, tickets, worker_id=worker, deadline_s=60)

        assert read(ledger, tickets[0].job_id).state == "running"


def test_a_retry_that_races_the_end_of_its_batch_leaves_it_active(ledger: Ledger) -> None:
    batch = make_batch(ledger, 1)
    worker = make_worker(ledger)
    held = claim(ledger, queue(ledger, batch), worker)[0]
    with ledger.begin() as session:
        jobs.finish(session, [Ending(ticket=held.ticket, state=JobState.FAILED, error="{}")])
        batches.fold(session)

    with ledger.begin() as retrying:
        retries.retry(retrying, batch, [JobState.FAILED])
        with ledger.begin() as settling:
            ended = batches.end_complete(settling)
    Steerer(ledger).step()
    with ledger.begin() as session:
        batches.fold(session)
        again = batches.end_complete(session)
        progress = batches.progress(session, batch)

    assert (ended, again) == ([], [])
    assert (progress.state, progress.ended_at, progress.failed) == ("open", None, 0)
