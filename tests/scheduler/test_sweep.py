from datetime import datetime, timedelta
from uuid import UUID

import pytest
import redis
from celery import Celery
from sqlalchemy import text

from scheduler import broker
from scheduler.dispatch import Dispatcher
from scheduler.ledger import fleet, jobs, queueing
from scheduler.ledger.jobs import Ticket
from scheduler.ledger.queueing import Line
from scheduler.ledger.session import Ledger, database_time
from scheduler.settings import Settings
from scheduler.sweep import Sweeper
from tests.factories import ENDPOINT, make_batch, make_worker

QUEUE = ENDPOINT.replace("/", ".")


@pytest.fixture
def sweeper(ledger: Ledger, client: redis.Redis, settings: Settings) -> Sweeper:
    return Sweeper(ledger, client, settings)


def now_of(ledger: Ledger) -> datetime:
    with ledger.begin() as session:
        return database_time(session)


def states(ledger: Ledger) -> list[str]:
    with ledger.begin() as session:
        return list(session.scalars(text("select state from jobs order by line")))


@pytest.fixture
def queued(ledger: Ledger, app: Celery, client: redis.Redis, settings: Settings, sweeper: Sweeper):
    """Three jobs in two states of mind: queued in the ledger, one message each in Redis."""
    make_batch(ledger, 3)
    sweeper.step(now_of(ledger))  # sets the sentinel
    one_each = settings.model_copy(update={"bundle_jobs": 1})
    assert Dispatcher(ledger, app, one_each).step(now_of(ledger)) >= 2
    Dispatcher(ledger, app, one_each).step(now_of(ledger))


@pytest.mark.usefixtures("queued")
def test_ten_minutes_of_honest_waiting_publish_nothing_twice(
    ledger: Ledger, app: Celery, client: redis.Redis, settings: Settings, sweeper: Sweeper
) -> None:
    start = now_of(ledger)
    before = states(ledger)
    length = client.llen(settings.redis_prefix + QUEUE)
    one_each = settings.model_copy(update={"bundle_jobs": 1})

    for seconds in range(0, 601, 2):
        sweeper.step(start + timedelta(seconds=seconds))
        Dispatcher(ledger, app, one_each).step(start)

    assert states(ledger) == before
    assert client.llen(settings.redis_prefix + QUEUE) == length


@pytest.mark.usefixtures("queued")
def test_a_message_that_is_gone_in_two_sweeps_is_lost(
    ledger: Ledger, client: redis.Redis, settings: Settings, sweeper: Sweeper
) -> None:
    before = states(ledger).count("queued")
    client.rpop(settings.redis_prefix + QUEUE)  # popped by a worker that died before its note

    sweeper.step(now_of(ledger))
    once = states(ledger).count("queued")
    sweeper.step(now_of(ledger))
    twice = states(ledger).count("queued")

    assert (once, twice) == (before, before - 1)


@pytest.mark.usefixtures("queued")
def test_after_a_flush_everything_is_put_back_at_once(
    ledger: Ledger, client: redis.Redis, settings: Settings, sweeper: Sweeper
) -> None:
    for key in client.keys(settings.redis_prefix + "*"):
        client.delete(key)

    sweeper.step(now_of(ledger))

    assert states(ledger).count("queued") == 0


@pytest.mark.usefixtures("queued")
def test_a_message_in_a_worker_s_hands_is_not_lost(
    ledger: Ledger, app: Celery, settings: Settings, sweeper: Sweeper
) -> None:
    before = states(ledger)
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(QUEUE)
        queue.get(timeout=5)  # popped and noted as unacked, never acknowledged

        for _ in range(3):
            sweeper.step(now_of(ledger))

        assert states(ledger) == before
        queue.close()


@pytest.mark.usefixtures("queued")
def test_a_message_in_a_dead_worker_s_hands_is_put_back(
    ledger: Ledger, app: Celery, settings: Settings, sweeper: Sweeper
) -> None:
    before = states(ledger).count("queued")
    make_worker(ledger, lease_s=-1.0)
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(QUEUE)
        queue.get(timeout=5)

        sweeper.step(now_of(ledger))  # buries the worker
        sweeper.step(now_of(ledger))
        after = states(ledger).count("queued")
        queue.close()

    assert after == before - 1


def test_a_lapsed_lease_buries_the_worker(ledger: Ledger, sweeper: Sweeper) -> None:
    batch = make_batch(ledger, 1)
    worker = make_worker(ledger, lease_s=-1.0)
    with ledger.begin() as session:
        taken = queueing.take(session, Line(batch, ENDPOINT), limit=1, now=database_time(session))
        jobs.claim(session, [taken[0].ticket], worker_id=worker, deadline_s=60)

    sweeper.step(now_of(ledger))

    assert states(ledger) == ["waiting"]
    with ledger.begin() as session:
        assert fleet.alive(session) == []
        assert fleet.ready_counts(session) == {}


def test_after_the_ledger_was_away_silent_workers_are_left_alone_for_a_while(
    ledger: Ledger, client: redis.Redis, settings: Settings
) -> None:
    batch = make_batch(ledger, 1)
    worker = make_worker(ledger, lease_s=-1.0)
    with ledger.begin() as session:
        taken = queueing.take(session, Line(batch, ENDPOINT), limit=1, now=database_time(session))
        jobs.claim(session, [taken[0].ticket], worker_id=worker, deadline_s=60)

    Sweeper(ledger, client, settings, mercy_s=60).step(now_of(ledger))
    spared = states(ledger)
    Sweeper(ledger, client, settings).step(now_of(ledger))

    assert spared == ["running"]
    assert states(ledger) == ["waiting"]


def test_what_is_no_message_of_ours_is_passed_over(
    ledger: Ledger, client: redis.Redis, settings: Settings, sweeper: Sweeper
) -> None:
    make_batch(ledger, 1)
    with ledger.begin() as session:
        session.execute(text("update jobs set state = 'queued', queued_at = now()"))
    client.lpush(settings.redis_prefix + QUEUE, b"no JSON", b"7", b"{}")

    sweeper.step(now_of(ledger))

    assert states(ledger) == ["waiting"]


@pytest.fixture
def meant_for(
    ledger: Ledger, app: Celery, settings: Settings, sweeper: Sweeper
) -> tuple[UUID, list[Ticket]]:
    """A worker, and three jobs whose message lies in its own queue."""
    worker = make_worker(ledger)
    make_batch(ledger, 3)
    sweeper.step(now_of(ledger))  # sets the sentinel
    assert Dispatcher(ledger, app, settings).step(now_of(ledger)) == 3
    with ledger.begin() as session:
        return worker, list(queueing.queued(session))


def keys_of(client: redis.Redis, settings: Settings, worker: UUID) -> list[bytes]:
    return client.keys(f"{settings.redis_prefix}*{worker}*")


def test_what_lies_in_a_living_worker_s_queue_is_left_there(
    ledger: Ledger,
    client: redis.Redis,
    settings: Settings,
    sweeper: Sweeper,
    meant_for: tuple[UUID, list[Ticket]],
) -> None:
    for _ in range(3):
        sweeper.step(now_of(ledger))

    assert states(ledger) == ["queued"] * 3
    assert keys_of(client, settings, meant_for[0])


@pytest.mark.parametrize("how", ["killed", "stopped", "stopping"])
def test_what_lies_in_a_dead_worker_s_queue_is_put_back_at_no_cost_and_the_queue_goes(
    ledger: Ledger,
    client: redis.Redis,
    settings: Settings,
    sweeper: Sweeper,
    meant_for: tuple[UUID, list[Ticket]],
    how: str,
) -> None:
    worker, _ = meant_for
    if how == "killed":
        make_worker(ledger, id=worker, lease_s=-1.0)
    elif how == "stopping":
        make_worker(ledger, id=worker, stopping=True)
    else:
        with ledger.begin() as session:
            fleet.sign_off(session, worker)

    sweeper.step(now_of(ledger))

    assert states(ledger) == ["waiting"] * 3
    assert keys_of(client, settings, worker) == []
    with ledger.begin() as session:
        assert set(session.scalars(text("select failures from jobs"))) == {0}
        assert set(session.scalars(text("select worker_id from jobs"))) == {None}


def test_a_message_that_a_worker_took_from_its_own_queue_before_it_died_is_put_back(
    ledger: Ledger, app: Celery, sweeper: Sweeper, meant_for: tuple[UUID, list[Ticket]]
) -> None:
    worker, _ = meant_for
    make_worker(ledger, id=worker, lease_s=-1.0)
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(broker.worker_queue(worker))
        queue.get(timeout=5)

        sweeper.step(now_of(ledger))
        queue.close()

    assert states(ledger) == ["waiting"] * 3


def test_a_worker_that_starts_again_under_the_same_name_is_another_one(
    ledger: Ledger,
    app: Celery,
    client: redis.Redis,
    settings: Settings,
    sweeper: Sweeper,
    meant_for: tuple[UUID, list[Ticket]],
) -> None:
    before, tickets = meant_for
    with ledger.begin() as session:
        fleet.sign_off(session, before)
    again = make_worker(ledger)

    sweeper.step(now_of(ledger))
    assert Dispatcher(ledger, app, settings).step(now_of(ledger)) == 3

    known = broker.presence(client, settings, [broker.worker_queue(again)])
    assert known.listed == set(tickets)
    with ledger.begin() as session:
        assert {each.worker_id for each in queueing.queued(session).values()} == {again}


def test_after_a_flush_what_was_in_workers_queues_is_put_back_at_once(
    ledger: Ledger,
    client: redis.Redis,
    settings: Settings,
    sweeper: Sweeper,
    meant_for: tuple[UUID, list[Ticket]],
) -> None:
    client.delete(*client.keys(settings.redis_prefix + "*"))

    sweeper.step(now_of(ledger))

    assert states(ledger) == ["waiting"] * 3


@pytest.mark.usefixtures("queued")
def test_a_living_worker_whose_clock_is_slow_keeps_what_it_took_after_a_death(
    ledger: Ledger, app: Celery, client: redis.Redis, settings: Settings, sweeper: Sweeper
) -> None:
    before = states(ledger)
    with ledger.begin() as session:
        session.execute(text("update jobs set queued_at = now() + interval '1 s'"))
    make_worker(ledger, lease_s=-1.0)
    with app.connection_for_read() as connection:
        queue = connection.SimpleQueue(QUEUE)
        queue.get(timeout=5)
        unacked = settings.redis_prefix + "unacked_index"
        (tag,) = client.zrange(unacked, 0, -1)
        client.zadd(unacked, {tag: 0.0})  # taken in 1970, by its clock

        for _ in range(3):
            sweeper.step(now_of(ledger))

        assert states(ledger) == before
        queue.close()
