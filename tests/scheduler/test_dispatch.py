from collections import Counter
from uuid import UUID

import pytest
import redis
from celery import Celery
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from uuid_utils.compat import uuid7

from scheduler import broker
from scheduler.dispatch import (
    Claimant,
    Dispatcher,
    bundle_size,
    caught_up,
    next_served,
    split,
    without_credit,
)
from scheduler.ledger import batches
from scheduler.ledger.jobs import Queued, Ticket
from scheduler.ledger.session import Ledger, database_time
from scheduler.settings import Settings
from tests.factories import ENDPOINT, make_batch, make_worker


def step(dispatcher: Dispatcher, ledger: Ledger) -> int:
    with ledger.begin() as session:
        now = database_time(session)
    return dispatcher.step(now)


def listed(client: redis.Redis, settings: Settings) -> set[Ticket]:
    return broker.presence(client, settings, ENDPOINT).listed


def batches_of(ledger: Ledger, tickets: set[Ticket]) -> Counter[UUID]:
    with ledger.begin() as session:
        rows = session.execute(
            text("select batch_id from jobs where id = any(:ids)"),
            {"ids": [ticket.job_id for ticket in tickets]},
        )
        return Counter(row.batch_id for row in rows)


def test_what_is_queued_is_what_was_published(
    ledger: Ledger, app: Celery, client: redis.Redis, settings: Settings
) -> None:
    make_batch(ledger, 7)

    count = step(Dispatcher(ledger, app, settings), ledger)

    with ledger.begin() as session:
        rows = session.execute(text("select id, epoch from jobs where state = 'queued'"))
        queued = {Ticket(row.id, row.epoch) for row in rows}
    assert count == 7
    assert listed(client, settings) == queued
    assert len(queued) == 7


def test_the_window_stays_short_however_large_the_batch(
    ledger: Ledger, app: Celery, settings: Settings
) -> None:
    narrow = settings.model_copy(update={"window_jobs": 40})
    make_batch(ledger, 200)
    make_worker(ledger)
    dispatcher = Dispatcher(ledger, app, narrow)

    counts = [step(dispatcher, ledger) for _ in range(5)]

    assert 0 < sum(counts) <= 40


def test_a_small_batch_behind_a_large_one_has_its_share_of_the_next_window(
    ledger: Ledger, app: Celery, client: redis.Redis, settings: Settings
) -> None:
    large = make_batch(ledger, 300)
    dispatcher = Dispatcher(ledger, app, settings)
    step(dispatcher, ledger)
    with ledger.begin() as session:  # the fleet has done the first window
        session.execute(text("update jobs set state = 'succeeded' where state = 'queued'"))
    client.flushall()
    small = make_batch(ledger, 10)

    step(dispatcher, ledger)

    shares = batches_of(ledger, listed(client, settings))
    assert shares[small] == 10
    assert shares[large] >= 1


def test_a_higher_priority_goes_first(
    ledger: Ledger, app: Celery, client: redis.Redis, settings: Settings
) -> None:
    make_batch(ledger, 50)
    urgent = make_batch(ledger, 50, priority=5)

    step(Dispatcher(ledger, app, settings), ledger)

    assert set(batches_of(ledger, listed(client, settings))) == {urgent}


@pytest.mark.parametrize("state", ["paused", "cancelled"])
def test_nothing_of_a_paused_or_cancelled_batch_is_queued(
    ledger: Ledger, app: Celery, settings: Settings, state: str
) -> None:
    make_batch(ledger, 3)
    with ledger.begin() as session:
        session.execute(text("update batches set state = :state"), {"state": state})

    assert step(Dispatcher(ledger, app, settings), ledger) == 0


def test_what_was_read_of_an_unreadable_batch_still_runs(
    ledger: Ledger, app: Celery, settings: Settings
) -> None:
    make_batch(ledger, 3)
    with ledger.begin() as session:
        session.execute(text("update batches set state = 'unreadable'"))

    assert step(Dispatcher(ledger, app, settings), ledger) == 3


def test_a_job_that_must_run_alone_has_a_message_of_its_own() -> None:
    one, two, three = (Ticket(uuid7(), 0) for _ in range(3))

    bundles = split([Queued(one, False), Queued(two, True), Queued(three, False)])

    assert bundles == [(one, three), (two,)]


def test_costly_jobs_make_small_bundles() -> None:
    settings = Settings(bundle_s=5, bundle_jobs=32)

    sizes = [bundle_size(cost, settings) for cost in (0.0, 0.01, 0.5, 4, 60)]

    assert sizes == [32, 32, 10, 1, 1]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.floats(0.01, 10)), min_size=1, max_size=8))
def test_owners_share_a_pipeline_evenly(batches_: list[tuple[str, float]]) -> None:
    claimants = [
        Claimant(batch_id=uuid7(), owner=owner, priority=0, cost_s=cost) for owner, cost in batches_
    ]
    served = caught_up({}, claimants)

    for _ in range(400):
        turn = next_served(claimants, served)
        served[turn.batch_id] += turn.cost_s

    totals: dict[str, float] = {}
    for claimant in claimants:
        totals[claimant.owner] = totals.get(claimant.owner, 0) + served[claimant.batch_id]
    assert max(totals.values()) - min(totals.values()) <= max(c.cost_s for c in claimants) + 1e-6


def test_a_newcomer_begins_level_with_the_least_served() -> None:
    old, new = (Claimant(batch_id=uuid7(), owner="", priority=0, cost_s=1) for _ in range(2))

    served = caught_up({old.batch_id: 1000.0, uuid7(): 5.0}, [old, new])

    assert served == {old.batch_id: 0.0, new.batch_id: 0.0}


def test_a_publish_that_fails_leaves_rows_for_the_sweeper(
    ledger: Ledger, settings: Settings
) -> None:
    from scheduler.errors import BrokerUnavailable

    dead = settings.model_copy(
        update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1/0")}
    )
    batch = make_batch(ledger, 2)

    with pytest.raises(BrokerUnavailable):
        step(Dispatcher(ledger, broker.make_app(dead), dead), ledger)

    with ledger.begin() as session:
        states = session.scalars(text("select state from jobs")).all()
        assert batches.progress(session, batch).ended == 0
    assert states == ["queued", "queued"]


def test_a_batch_that_has_nothing_to_queue_saves_up_no_credit() -> None:
    idle, busy = uuid7(), Claimant(batch_id=uuid7(), owner="", priority=0, cost_s=1)

    served = without_credit({idle: 1.0, busy.batch_id: 50.0}, [busy])

    assert served == {idle: 50.0, busy.batch_id: 50.0}
