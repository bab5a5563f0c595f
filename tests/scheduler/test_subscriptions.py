from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from scheduler.errors import EventUnknown, SubscriptionUnknown, UrlRefused
from scheduler.ledger import (
    batches,
    deliveries,
    delivery_records,
    feeds,
    jobs,
    periods,
    retention,
    subscriptions,
)
from scheduler.ledger.delivery_records import Choice
from scheduler.ledger.feeds import Feed
from scheduler.ledger.jobs import Ending
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.subscriptions import subscribe
from scheduler.ledger.tables import JobState
from scheduler.ledger.webhook_tables import Style
from scheduler.loop import settle
from scheduler.settings import Settings
from scheduler.webhooks.expansion import Expansion
from scheduler.webhooks.outcome import settled
from scheduler.webhooks.schedule import Answer
from tests.factories import ENDPOINT, make_batch, make_rejected, make_row, make_submission
from tests.scheduler.test_jobs import queue

URL = "https://consumer.example/hook"
ALL = Choice()
NOW = datetime(2026, 11, 24, tzinfo=UTC)
OLD = UUID("018bcfe5-6800-7000-8000-000000000001")


def outbox(ledger: Ledger) -> list[tuple[str, UUID | None]]:
    with ledger.begin() as session:
        rows = session.execute(text("select type, job_id from outbox order by event_id"))
        return [(row.type, row.job_id) for row in rows]


def end(ledger: Ledger, batch: UUID, state: JobState = JobState.SUCCEEDED) -> list[UUID]:
    """Let all jobs of a batch end."""
    endings = [Ending(ticket=ticket, state=state) for ticket in queue(ledger, batch)]
    with ledger.begin() as session:
        return sorted(jobs.finish(session, endings, from_states=(JobState.QUEUED,)))


def test_what_nobody_subscribed_to_leaves_no_trace(ledger: Ledger) -> None:
    batch, other = make_batch(ledger), make_batch(ledger, 1)
    with ledger.begin() as session:
        subscribe(session, url=URL, batch_id=other, events=["job.succeeded"])
        subscribe(session, url=URL, events=["job.failed"])

    end(ledger, batch)

    assert outbox(ledger) == []


def test_each_kind_of_subscription_hears_of_its_events(ledger: Ledger) -> None:
    batch = make_batch(ledger, 2)
    first = periods.job_id(batch, 1)
    with ledger.begin() as session:
        subscribe(session, url=URL, job_id=first, style=Style.FAL)
    end(ledger, batch)
    of_a_job = outbox(ledger)
    other = make_batch(ledger, 1)
    with ledger.begin() as session:
        subscribe(session, url=URL, batch_id=other, events=["job.cancelled"])
    cancelled = end(ledger, other, JobState.CANCELLED)
    of_a_batch = outbox(ledger)[1:]
    with ledger.begin() as session:
        subscribe(session, url=URL, events=["batch.submitted"])
    make_batch(ledger, 1)

    assert of_a_job == [("job.succeeded", first)]
    assert of_a_batch == [("job.cancelled", cancelled[0])]
    assert outbox(ledger)[2:] == [("batch.submitted", None)]


def test_the_note_of_an_event_lives_and_dies_with_its_transaction(ledger: Ledger) -> None:
    with ledger.begin() as session:
        subscribe(session, url=URL, events=["batch.submitted"])

    with ledger.begin() as session:
        batches.submit(session, make_submission(), again=False)
        session.rollback()

    assert outbox(ledger) == []


def test_a_job_that_ended_with_its_own_submission_is_told_of(ledger: Ledger) -> None:
    feed = Feed(name="http", endpoint=ENDPOINT, destination="file:///results/")

    with ledger.begin() as session:
        good, bad = feeds.append(session, feed, [make_row(1), make_rejected(2)])
        for job in (good, bad):
            subscribe(session, url=URL, job_id=job, style=Style.FAL)

    assert outbox(ledger) == [("job.rejected", bad)]


def test_the_same_url_for_the_same_batch_is_one_subscription(ledger: Ledger) -> None:
    batch = make_batch(ledger, 1)
    with ledger.begin() as session:
        first = subscribe(session, url=URL, batch_id=batch)
        second = subscribe(session, url=URL, batch_id=batch, events=["job.failed"])
        found = subscriptions.find(session, str(first)[-8:])

    assert first == second
    assert (found.events, found.origin) == (["job.failed"], "https://consumer.example")


def test_whoever_comes_after_a_batch_has_ended_is_told_of_its_end_and_nobody_twice(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 1)
    with ledger.begin() as session:
        subscribe(session, url=URL, batch_id=batch)
    end(ledger, batch)
    settle(ledger)
    with ledger.begin() as session:
        first = Expansion(ledger, settings).step({}, 0.0, session)
        late = subscribe(session, url=f"{URL}/late", batch_id=batch)
        subscribe(session, url=URL, batch_id=batch)
        second = Expansion(ledger, settings).step({}, 0.0, session)
        found = delivery_records.listed(session, Choice(batch_id=batch), limit=10)
        same = delivery_records.listed(session, Choice(event_id=found[0].event_id), limit=10)

    assert [each.type for each in found] == ["batch.finished"] * 2
    assert (len(first.taken), [each.key.subscription_id for each in second.taken]) == (1, [late])
    assert same == found


@pytest.mark.parametrize("url", ["ftp://host/", "http://u:p@host/", "http://0x7f.1/", ""])
def test_an_odd_url_is_refused_when_it_is_given(ledger: Ledger, url: str) -> None:
    with pytest.raises(UrlRefused), ledger.begin() as session:
        subscribe(session, url=url)


def test_errors_name_what_is_unknown(ledger: Ledger) -> None:
    unknown = pytest.raises(EventUnknown, match=r"'job\.done' is unknown.*job\.succeeded")
    with unknown, ledger.begin() as session:
        subscribe(session, url=URL, events=["job.done"])
    for piece in ("abc", "zzzzzz", "0123456789"):
        with pytest.raises(SubscriptionUnknown, match="is none"), ledger.begin() as session:
            subscriptions.find(session, piece)


def test_a_week_stays_until_its_subscribers_have_been_told(ledger: Ledger) -> None:
    batch = make_batch(ledger, 1, id=OLD)
    with ledger.begin() as session:
        subscribe(session, url=URL, batch_id=batch, events=["job.succeeded"])
    end(ledger, batch)
    with ledger.begin() as session:
        session.execute(text("update batches set ended_at = '2024-01-01', reported_at = now()"))

    while_noted = prune(ledger)
    with ledger.begin() as session:
        session.execute(text("delete from outbox"))
    afterwards = prune(ledger)

    assert (while_noted, afterwards) == (False, True)
    with ledger.begin() as session:
        assert subscriptions.standing(session) == []


def prune(ledger: Ledger) -> bool:
    with ledger.begin() as session:
        now = database_time(session)
        period = periods.period_of(OLD)
        year = now - periods.start(period)
        pruned = retention.prune(session, period, now=now, keep_jobs=year / 2, keep_events=None)
    return pruned is not None


def test_a_removed_subscription_is_gone(ledger: Ledger) -> None:
    with ledger.begin() as session:
        id_ = subscribe(session, url=URL, owner=str(uuid7()))
        subscriptions.remove(session, id_)

    with ledger.begin() as session:
        assert subscriptions.standing(session) == []


def test_a_message_that_is_taken_as_it_is_written_is_fenced_like_any_other(
    ledger: Ledger, settings: Settings
) -> None:
    """The rest is due; and if its sender dies, others have it when the lease lapses."""
    batch = make_batch(ledger, 2)
    with ledger.begin() as session:
        subscribe(session, url=URL, batch_id=batch, events=["job.succeeded"])
        paused = subscribe(session, url=f"{URL}/p", batch_id=batch, events=["job.succeeded"])
        session.execute(
            text("update subscriptions set state = 'paused' where id = :id"), {"id": paused}
        )
    end(ledger, batch)
    origin = "https://consumer.example"
    with ledger.begin() as session:
        found = Expansion(ledger, settings).step({origin: 1}, 60.0, session)
    with ledger.begin() as session:
        rest, aside = deliveries.take(session, {origin: 9}, lease_s=60.0)
    with ledger.begin() as session:
        session.execute(text("update deliveries set due_at = now() where state = 'sending'"))
        again, _ = deliveries.take(session, {origin: 9}, lease_s=60.0)
        lost = settled(found.taken[0], Answer(status=200, text=""), now=NOW, random=float)
        deliveries.settle(session, [lost])
        states = sorted(str(each.state) for each in delivery_records.listed(session, ALL, limit=9))

    assert (found.events, found.due, len(rest), aside) == (2, 3, 1, 2)
    first = found.taken[0]
    held = next(each for each in again if each.key.event_id == first.key.event_id)
    assert (first.key.epoch, held) == (1, replace(first, key=first.key._replace(epoch=2)))
    assert states == ["due", "due", "sending", "sending"]


def test_events_wait_where_a_destination_has_no_room_for_all_that_it_takes_soon(
    ledger: Ledger, settings: Settings
) -> None:
    """Unless it takes few: others may wait behind those events."""
    batch = make_batch(ledger, 80)
    with ledger.begin() as session:
        subscribe(session, url=URL, batch_id=batch, events=["job.succeeded"])
    end(ledger, batch)
    expansion = Expansion(ledger, settings)
    with ledger.begin() as session:
        quick = expansion.step({"https://consumer.example": 40}, 60.0, session)
        slow = expansion.step({"https://consumer.example": 3}, 60.0, session)

    assert (quick.events, len(quick.taken), quick.due) == (40, 40, 0)
    assert (slow.events, len(slow.taken), slow.due) == (40, 3, 37)
