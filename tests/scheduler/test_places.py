from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from celery import Celery
from sqlalchemy import text
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from scheduler.dispatch import NOTE_S, Dispatcher
from scheduler.ledger import bookmarks, jobs, queueing
from scheduler.ledger.jobs import Ending, Release
from scheduler.ledger.queueing import START, Line, Place
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.tables import JobState
from scheduler.places import AGAIN, MARGIN, Key, Places
from scheduler.settings import Settings
from tests.factories import ENDPOINT, make_batch, make_worker

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROOMY = {"bundle_s": 60.0}
LATER = NOW + AGAIN + timedelta(seconds=1)


def key() -> Key:
    return Key(uuid7(), ENDPOINT)


def test_a_line_goes_on_behind_what_was_taken_and_some_seconds_back() -> None:
    places, one = Places(), key()
    old, new = Place(NOW - timedelta(hours=1), 7), Place(NOW - timedelta(seconds=1), 9)

    assert places.line(one, NOW).after == START
    places.took(one, old)
    assert places.line(one, NOW).after == old
    places.took(one, new)
    places.took(one, old)
    assert places.line(one, NOW).after == Place(NOW - MARGIN, 0)


def test_of_the_lines_where_nothing_is_due_one_at_a_time_is_looked_at_from_its_beginning() -> None:
    places, one, two = Places(), key(), key()
    places.line(one, NOW - timedelta(seconds=1))
    places.line(two, NOW)
    places.exhausted([one, two], NOW)

    believed = [places.line(each, NOW).after for each in (one, two)]
    places.exhausted([one, two], LATER)
    doubted = [places.line(each, LATER).after for each in (one, two)]
    places.exhausted([one, two], LATER)

    assert believed == [Place(NOW - MARGIN, 0)] * 2
    assert doubted == [START, Place(LATER - MARGIN, 0)]
    assert places.line(two, LATER).after == START, "it is its turn to be doubted"


@contextmanager
def old_snapshot(ledger: Ledger) -> Iterator[None]:
    """Let no vacuum, and no scan in passing, remove what becomes dead from now on."""
    with ledger.begin() as session:
        session.execute(text("set transaction isolation level repeatable read"))
        session.execute(text("select 1"))
        yield


def entries_read(session: Session) -> int:
    """Count the index entries of jobs that this session has read, dead ones too."""
    return int(
        session.scalar(
            text(
                "select sum(pg_stat_get_xact_tuples_returned(indexrelid)) from pg_stat_user_indexes"
                " where relname like 'jobs\\_%'"
            )
        )
    )


@pytest.mark.parametrize("remembers", [True, False])
def test_a_take_reads_no_entry_of_what_was_taken_before_whoever_keeps_a_snapshot(
    ledger: Ledger, *, remembers: bool
) -> None:
    batch = make_batch(ledger, 1000)
    one, places = Key(batch, ENDPOINT), Places()
    with ledger.begin() as session:
        now = database_time(session)
        later = now + timedelta(minutes=1)
        session.execute(text("analyze jobs"))
    with old_snapshot(ledger):
        for _ in range(3):
            with ledger.begin() as session:
                taken = queueing.take(session, places.line(one, now), limit=300, now=now)
            places.took(one, taken[-1].place)

        with ledger.begin() as session:
            before = entries_read(session)
            line = places.line(one, later) if remembers else Line(*one)
            (due,) = queueing.due(session, [line], now=later)
            first, *others = queueing.take(session, line, limit=10, now=later)
            read = entries_read(session) - before

    assert due.after == first.place._replace(line=first.place.line - 1)
    assert len(others) == 9
    assert read < 80 if remembers else read > 1800, "without a memory the test would not notice"


def test_who_begins_to_lead_reads_no_entry_of_what_was_taken_and_finished_before(
    ledger: Ledger, app: Celery, settings: Settings
) -> None:
    worker = make_worker(ledger)
    make_batch(ledger, 1000)
    wide = settings.model_copy(update={"bundle_s": 1e6, "bundle_jobs": 450, "window_jobs": 450})
    first = Dispatcher(ledger, app, wide)
    now = step(first, ledger)
    with old_snapshot(ledger):
        for round_ in (1, 2):
            with ledger.begin() as session:
                tickets = list(queueing.queued(session))
                held = jobs.claim(session, tickets, worker_id=worker, deadline_s=60)
                ended = [Ending(ticket=job.ticket, state=JobState.SUCCEEDED) for job in held]
                assert len(jobs.finish(session, ended, worker_id=worker)) == 450
            first.step(now + timedelta(minutes=round_))
        later = now + timedelta(minutes=3)

        with ledger.begin() as session:
            before = entries_read(session)
            found = bookmarks.find(session, [ENDPOINT])
            assert found is not None
            (line,) = found.lines
            handed = queueing.handed_out(session, found.handed)
            taken = queueing.take(session, line, limit=10, now=later)
            read = entries_read(session) - before
            blind = queueing.handed_out(session)
            without = entries_read(session) - before - read

    assert sorted(each.id for each in handed) == sorted(each.id for each in blind)
    assert taken == [], "all 1,000 were taken"
    assert read < 500, "100 jobs that are handed out, four times"
    assert without > 900, "without a bookmark the test would not notice"


def test_a_new_dispatcher_knows_what_was_queued_after_the_bookmark(
    ledger: Ledger, app: Celery, settings: Settings
) -> None:
    make_worker(ledger)
    make_batch(ledger, 3)
    narrow = settings.model_copy(update=ROOMY | {"window_jobs": 4})
    first = Dispatcher(ledger, app, narrow)
    now = step(first, ledger)
    first.step(now + timedelta(minutes=1))
    make_batch(ledger, 3)
    unnoted = now + timedelta(minutes=1, seconds=NOTE_S / 2)

    assert first.step(unnoted) == 1
    with ledger.begin() as session:
        found = bookmarks.find(session, [ENDPOINT])
    assert found is not None
    assert len(found.handed) == 4
    assert Dispatcher(ledger, app, narrow).step(unnoted) == 0, "the window is full"
    assert count(ledger, "queued") == 4


def test_what_comes_back_to_a_line_is_taken_again_without_a_look_from_the_beginning(
    ledger: Ledger, app: Celery, settings: Settings
) -> None:
    worker = make_worker(ledger)
    make_batch(ledger, 10)
    dispatcher = Dispatcher(ledger, app, settings.model_copy(update=ROOMY))
    now = step(dispatcher, ledger)
    with ledger.begin() as session:
        tickets = sorted(queueing.queued(session))
        held = jobs.claim(session, tickets[:1], worker_id=worker, deadline_s=60)
        jobs.release(session, [Release(ticket=job.ticket) for job in held], worker_id=worker)
        queueing.unqueue(session, tickets[1:3])

    dispatcher.step(now + AGAIN / 2)

    assert len(tickets) == 10
    assert count(ledger, "queued") == 10


def test_a_job_that_was_locked_while_its_line_was_taken_is_found_by_the_next_look(
    ledger: Ledger, app: Celery, settings: Settings
) -> None:
    make_worker(ledger)
    batch = make_batch(ledger, 10)
    dispatcher = Dispatcher(ledger, app, settings.model_copy(update=ROOMY))
    with ledger.begin() as holding:
        holding.execute(text("select from jobs where line = 1 for update"))
        now = step(dispatcher, ledger)
    assert waiting(ledger, batch) == [1]

    dispatcher.step(now + AGAIN / 2)
    assert waiting(ledger, batch) == [1], "the place is believed for a while"
    for _ in range(2):  # one notes that nothing is due, the next one looks again
        dispatcher.step(now + 2 * AGAIN)
    assert waiting(ledger, batch) == []


def step(dispatcher: Dispatcher, ledger: Ledger) -> datetime:
    with ledger.begin() as session:
        now = database_time(session)
    dispatcher.step(now)
    return now


def count(ledger: Ledger, state: str) -> int:
    with ledger.begin() as session:
        counted = text("select count(*) from jobs where state = :state")
        return int(session.scalar(counted, {"state": state}))


def waiting(ledger: Ledger, batch: UUID) -> list[int]:
    with ledger.begin() as session:
        lines = text("select line from jobs where batch_id = :id and state = 'waiting' order by 1")
        return list(session.scalars(lines, {"id": batch}))
