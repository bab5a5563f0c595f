import json
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import select, text

from scheduler.errors import LedgerUnavailable
from scheduler.ledger import batches, feeds, jobs, queueing
from scheduler.ledger.feeds import Feed
from scheduler.ledger.jobs import Ending
from scheduler.ledger.queueing import Line
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.tables import Batch, BatchState, Event, Job, JobState
from scheduler.loop import close_feeds, settle
from tests.factories import ENDPOINT, make_rejected, make_row, make_worker

FEED = Feed(name="requests", endpoint=ENDPOINT, destination="file:///results/", owner="ann")


def feed(ledger: Ledger, *rows: int, into: Feed = FEED) -> list[UUID]:
    with ledger.begin() as session:
        return feeds.append(session, into, [make_row(0, seed=seed) for seed in rows])


def batch_of(ledger: Ledger, job: UUID) -> Batch:
    with ledger.begin() as session:
        return session.get_one(Batch, session.get_one(Job, job).batch_id)


def end_the_day(ledger: Ledger) -> None:
    with ledger.begin() as session:
        session.execute(text("update batches set fed_until = now() where fed_until is not null"))


def finish_all(ledger: Ledger, ids: list[UUID]) -> None:
    worker = make_worker(ledger)
    for id_ in ids:
        batch = batch_of(ledger, id_)
        with ledger.begin() as session:
            taken = queueing.take(
                session, Line(batch.id, ENDPOINT), limit=9, now=database_time(session)
            )
            claimed = jobs.claim(
                session, [each.ticket for each in taken], worker_id=worker, deadline_s=60
            )
            endings = [Ending(ticket=job.ticket, state=JobState.SUCCEEDED) for job in claimed]
            jobs.finish(session, endings, worker_id=worker)


def test_jobs_of_a_feed_share_one_batch_and_come_back_in_order(ledger: Ledger) -> None:
    first, second, third = feed(ledger, 1, 2) + feed(ledger, 3)

    with ledger.begin() as session:
        found = [session.get_one(Job, id_) for id_ in (first, second, third)]
        assert [job.seed for job in found] == [1, 2, 3]
        assert len({job.batch_id for job in found}) == 1
        progress = batches.progress(session, found[0].batch_id)
        batch = session.get_one(Batch, found[0].batch_id)
    assert (progress.total, progress.state) == (3, BatchState.OPEN)
    assert (batch.owner, batch.source, batch.pipelines) == ("ann", "requests", [ENDPOINT])


def test_owners_and_priorities_have_feeds_of_their_own(ledger: Ledger) -> None:
    other = Feed(name="requests", endpoint=ENDPOINT, destination="file:///results/", owner="bob")
    low = Feed(
        name="requests", endpoint=ENDPOINT, destination="file:///results/", owner="ann", priority=-1
    )

    ids = feed(ledger, 1) + feed(ledger, 1, into=other) + feed(ledger, 1, into=low)

    assert len({batch_of(ledger, id_).id for id_ in ids}) == 3


def test_a_newer_job_may_write_the_same_destination(ledger: Ledger) -> None:
    with ledger.begin() as session:
        same = [make_row(0, destination="file:///results/same.png") for _ in range(2)]
        ids = feeds.append(session, FEED, same)

        assert {session.get_one(Job, id_).state for id_ in ids} == {JobState.WAITING}


def test_a_bad_row_is_counted_and_told_and_never_runs(ledger: Ledger) -> None:
    with ledger.begin() as session:
        (id_,) = feeds.append(session, FEED, [make_rejected(0)])

    with ledger.begin() as session:
        job = session.get_one(Job, id_)
        told = session.scalars(select(Event.type).where(Event.job_id == id_)).all()
        assert batches.progress(session, job.batch_id).rejected == 1
    assert (job.state, told) == (JobState.REJECTED, ["job.rejected"])
    assert job.error == json.loads(make_rejected(0).error or "")


def test_a_feed_stays_open_until_its_day_is_over(ledger: Ledger) -> None:
    today = feed(ledger, 1)
    finish_all(ledger, today)
    close_feeds(ledger)
    settle(ledger)
    settle(ledger)
    assert batch_of(ledger, today[0]).ended_at is None

    end_the_day(ledger)
    still = feed(ledger, 2)
    close_feeds(ledger)
    tomorrow = feed(ledger, 3)
    finish_all(ledger, still)
    settle(ledger)
    settle(ledger)

    ended = batch_of(ledger, today[0])
    assert batch_of(ledger, still[0]).id == ended.id
    assert ended.state == BatchState.FINISHED
    assert ended.reported_at is not None, "nobody writes the report of a feed's day"
    assert batch_of(ledger, tomorrow[0]).id != ended.id


def test_a_job_in_the_middle_of_being_appended_holds_its_batch_open(ledger: Ledger) -> None:
    finish_all(ledger, feed(ledger, 1))
    end_the_day(ledger)

    with ledger.begin() as session:
        (late,) = feeds.append(session, FEED, [make_row(0)])
        with pytest.raises(LedgerUnavailable, match="lock timeout"):
            close_feeds(ledger)
    close_feeds(ledger)
    settle(ledger)

    assert batch_of(ledger, late).ended_at is None
    finish_all(ledger, [late])
    settle(ledger)
    settle(ledger)
    assert batch_of(ledger, late).ended_at is not None


def test_many_appending_at_once_open_one_batch_and_lose_nothing(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = [id_ for found in pool.map(lambda n: feed(ledger, n), range(64)) for id_ in found]

    assert len(set(ids)) == 64
    assert len({batch_of(ledger, id_).id for id_ in ids}) == 1
    settle(ledger)
    with ledger.begin() as session:
        assert batches.progress(session, batch_of(ledger, ids[0]).id).total == 64


def test_a_cancelled_feed_goes_on_with_a_batch_of_its_own(ledger: Ledger) -> None:
    (gone,) = feed(ledger, 1)
    with ledger.begin() as session:
        batches.cancel(session, batch_of(ledger, gone).id)

    close_feeds(ledger)

    assert batch_of(ledger, feed(ledger, 2)[0]).id != batch_of(ledger, gone).id
