from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from scheduler import keeping
from scheduler.errors import BatchPruned, LedgerUnavailable
from scheduler.ledger import batches, jobs, periods, requests, retries, triggers
from scheduler.ledger.jobs import Ending
from scheduler.ledger.requests import JobLog, NewRequest
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.tables import JobState
from scheduler.loop import settle
from scheduler.settings import Settings
from scheduler.steering import Steerer
from tests.factories import ENDPOINT, make_batch
from tests.scheduler.command import enlarger
from tests.scheduler.test_jobs import queue

OLD = UUID("018bcfe5-6800-7000-8000-000000000001")
OLDER_SIBLING = UUID("018bcfe5-6800-7000-9000-000000000002")
DAY = 24 * 3600.0


def end(ledger: Ledger, batch: UUID, *, days_ago: float) -> None:
    """Let all jobs of a batch succeed, and its end be some days past."""
    tickets = queue(ledger, batch)
    endings = [Ending(ticket=ticket, state=JobState.SUCCEEDED) for ticket in tickets]
    with ledger.begin() as session:
        jobs.finish(session, endings, from_states=(JobState.QUEUED,))
    settle(ledger)
    with ledger.begin() as session:
        session.execute(
            text(
                "update batches set ended_at = ended_at - :ago, reported_at = now() where id = :id"
            ),
            {"id": batch, "ago": timedelta(days=days_ago)},
        )


def prune(ledger: Ledger, settings: Settings, **keep: float) -> list[tuple[int, bool]]:
    found = keeping.prune_all(ledger, settings.model_copy(update=keep))
    return [(each.period, each.jobs) for each in found]


def count(ledger: Ledger, table: str) -> int:
    with ledger.begin() as session:
        return session.scalar(text(f"select count(*) from {table}"))


def test_a_week_goes_with_rows_and_events_and_the_batch_keeps_its_counters(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 3, id=OLD)
    with ledger.begin() as session:
        first = periods.job_id(batch, 1)
        requests.add(session, [NewRequest(id=first, owner="", endpoint=ENDPOINT, cdn="")])
        requests.keep_logs(session, [JobLog(job_id=first, epoch=1, entries="[]")])
    end(ledger, batch, days_ago=31)
    young = make_batch(ledger, 2)

    pruned = prune(ledger, settings, keep_jobs_s=30 * DAY)

    assert pruned == [(periods.period_of(OLD), True)]
    assert count(ledger, "jobs") == 2
    assert (count(ledger, "requests"), count(ledger, "job_logs")) == (0, 0)
    with ledger.begin() as session:
        progress = batches.progress(session, batch)
        assert (progress.state, progress.succeeded, progress.total) == ("finished", 3, 3)
        assert batches.get(session, batch).pruned_at is not None
        assert batches.get(session, young).pruned_at is None
        told = session.scalars(text("select distinct batch_id from events")).all()
        assert told == [young]
        assert periods.period_of(OLD) not in periods.existing(session)


@pytest.mark.parametrize("keep", [{}, {"keep_jobs_s": 32 * DAY}])
def test_what_is_to_be_kept_is(ledger: Ledger, settings: Settings, keep: dict[str, float]) -> None:
    end(ledger, make_batch(ledger, 3, id=OLD), days_ago=31)

    assert prune(ledger, settings, **keep) == []
    assert count(ledger, "jobs") == 3


def test_a_week_with_one_batch_in_use_stays_whole(ledger: Ledger, settings: Settings) -> None:
    end(ledger, make_batch(ledger, 3, id=OLD), days_ago=31)
    live = make_batch(ledger, 2, id=OLDER_SIBLING)

    assert prune(ledger, settings, keep_jobs_s=DAY, keep_events_s=DAY) == []
    assert count(ledger, "jobs") == 5

    end(ledger, live, days_ago=2)
    assert prune(ledger, settings, keep_jobs_s=DAY) == [(periods.period_of(OLD), True)]


def test_a_batch_without_its_report_is_in_use(ledger: Ledger, settings: Settings) -> None:
    batch = make_batch(ledger, 3, id=OLD)
    end(ledger, batch, days_ago=31)
    with ledger.begin() as session:
        session.execute(text("update batches set reported_at = null"))

    assert prune(ledger, settings, keep_jobs_s=DAY) == []


def test_events_may_go_before_the_rows_and_a_retry_still_tells(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 3, id=OLD)
    end(ledger, batch, days_ago=31)
    with ledger.begin() as session:
        session.execute(text("update jobs set state = 'failed' where line = 1"))
        session.execute(text("update batches set succeeded = succeeded - 1, failed = 1"))

    assert prune(ledger, settings, keep_events_s=DAY) == [(periods.period_of(OLD), False)]
    assert prune(ledger, settings, keep_events_s=DAY) == []
    assert (count(ledger, "jobs"), count(ledger, "events")) == (3, 0)

    with ledger.begin() as session:
        assert retries.retry(session, batch, [JobState.FAILED]) == 1
    Steerer(ledger).step()
    end(ledger, batch, days_ago=0)
    assert count(ledger, "events") == 3  # retried, succeeded, ended


def test_this_week_is_never_dropped(ledger: Ledger, settings: Settings) -> None:
    end(ledger, make_batch(ledger, 3), days_ago=31)

    assert prune(ledger, settings, keep_jobs_s=1, keep_events_s=1) == []


def test_who_reads_the_week_is_not_waited_for_long(ledger: Ledger, settings: Settings) -> None:
    end(ledger, make_batch(ledger, 3, id=OLD), days_ago=31)

    with ledger.begin() as reading:
        reading.execute(text("select count(*) from jobs"))
        with pytest.raises(LedgerUnavailable):
            prune(ledger, settings, keep_jobs_s=DAY)

    assert count(ledger, "jobs") == 3
    assert prune(ledger, settings, keep_jobs_s=DAY) == [(periods.period_of(OLD), True)]


def test_a_pruned_batch_says_so_to_who_asks_for_its_rows(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 3, id=OLD)
    end(ledger, batch, days_ago=31)

    done = enlarger("prune", settings=settings, ENLARGER_KEEP_JOBS_S=str(DAY))
    shown = enlarger("results", batch.hex, settings=settings)

    assert done.err == "Dropped the rows of 1 weeks, and the events alone of 0.\n"
    assert (shown.code, "ENLARGER_KEEP_JOBS_S" in shown.err) == (1, True)
    with ledger.begin() as session, pytest.raises(BatchPruned, match="--again"):
        retries.retry(session, batch, [JobState.FAILED])


def test_the_coming_weeks_are_made_ahead(ledger: Ledger, settings: Settings) -> None:
    keeping.step(ledger, settings)

    with ledger.begin() as session:
        now = periods.at(database_time(session))
        assert {now, now + 1, now + 2} <= set(periods.existing(session))
    assert periods.period_of(uuid7()) == now


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        ({}, 2),
        ({"keep_events_s": DAY}, 1),
        ({"keep_jobs_s": DAY}, 1),
        ({"keep_jobs_s": 9 * DAY}, 2),
    ],
)
def test_messages_that_nobody_understood_go_with_the_events(
    ledger: Ledger, settings: Settings, keep: dict[str, float], left: int
) -> None:
    with ledger.begin() as session:
        for body in ("old", "new"):
            triggers.bury(session, source="here", reason="no JSON", body=body)
        session.execute(
            text("update dead_events set at = at - interval '2 days' where body = 'old'")
        )

    keeping.forget_dead(ledger, settings.model_copy(update=keep))

    with ledger.begin() as session:
        found = [each.body for each in triggers.dead(session, limit=9)]
    assert found == ["new", "old"][:left]
