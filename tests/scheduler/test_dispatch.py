import base64
import itertools
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
import redis
from celery import Celery
from sqlalchemy import text
from uuid_utils.compat import uuid7

from scheduler import broker
from scheduler.dispatch import Dispatcher, bundle_size, split
from scheduler.ledger import batches, jobs, queueing
from scheduler.ledger.intake import NewJob
from scheduler.ledger.jobs import Ticket
from scheduler.ledger.queueing import START, Queued
from scheduler.ledger.session import Ledger, database_time
from scheduler.settings import Settings
from tests.factories import ENDPOINT, make_batch, make_row, make_worker

OTHER = "enlarger/other"
QUEUE = broker.queue_name(ENDPOINT)


def step(dispatcher: Dispatcher, ledger: Ledger) -> int:
    with ledger.begin() as session:
        now = database_time(session)
    return dispatcher.step(now)


def listed(client: redis.Redis, settings: Settings) -> set[Ticket]:
    return broker.presence(client, settings, [QUEUE]).listed


def listed_for(client: redis.Redis, settings: Settings, worker: UUID) -> set[Ticket]:
    return broker.presence(client, settings, [broker.worker_queue(worker)]).listed


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


def test_a_small_batch_behind_a_large_one_is_next(
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
    assert shares[small] == 10, "it is next, and what the large one had before counts"
    assert shares[large] == 0


def test_a_higher_priority_goes_first(
    ledger: Ledger, app: Celery, client: redis.Redis, settings: Settings
) -> None:
    make_batch(ledger, 50)
    urgent = make_batch(ledger, 50, priority=5)

    step(Dispatcher(ledger, app, settings), ledger)

    assert set(batches_of(ledger, listed(client, settings))) == {urgent}


def test_a_higher_priority_with_nothing_due_takes_nobody_s_turn_or_lookahead(
    ledger: Ledger, app: Celery, settings: Settings
) -> None:
    worker = make_worker(ledger, ready=(ENDPOINT, OTHER), resident={ENDPOINT: 1})
    slow = make_batch(ledger, 50)
    known_cost(ledger, slow, 2.0)
    urgent = make_batch(ledger, rows_of(OTHER, 50), endpoint=OTHER, priority=5)
    known_cost(ledger, urgent, 0.01)
    with ledger.begin() as session:
        session.execute(
            text("update jobs set run_after = now() + interval '1 hour' where batch_id = :id"),
            {"id": urgent},
        )
    dispatcher = Dispatcher(ledger, app, settings)
    assert step(dispatcher, ledger) == 2
    with ledger.begin() as session:  # it has begun the second of the two
        session.execute(text("update jobs set state = 'succeeded' where line = 1"))

    assert step(dispatcher, ledger) == 2, "2 s are half a bundle of the slow ones"
    assert len(dispatched_to(ledger, worker)) == 3


def dispatched_to(ledger: Ledger, worker: UUID) -> list[Ticket]:
    with ledger.begin() as session:
        return [t for t, each in queueing.queued(session).items() if each.worker_id == worker]


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

    bundles = split(
        [Queued(one, False, START), Queued(two, True, START), Queued(three, False, START)]
    )

    assert bundles == [(one, three), (two,)]


def test_costly_jobs_make_small_bundles() -> None:
    settings = Settings(bundle_s=5, bundle_jobs=32)

    sizes = [bundle_size(cost, settings) for cost in (0.0, 0.01, 0.5, 4, 60)]

    assert sizes == [32, 32, 10, 1, 1]


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


def known_cost(ledger: Ledger, batch: UUID, cost_s: float) -> None:
    """Let a batch have finished a hundred jobs of this cost."""
    with ledger.begin() as session:
        session.execute(
            text("update batches set succeeded = 100, device_s = 100 * :cost_s where id = :id"),
            {"id": batch, "cost_s": cost_s},
        )


def rows_of(pipeline: str, count: int) -> list[NewJob]:
    return [make_row(line, pipeline=pipeline, endpoint=pipeline) for line in range(1, count + 1)]


def finish_queued(ledger: Ledger, worker: UUID) -> None:
    """Let a worker do all that lies in its queue."""
    with ledger.begin() as session:
        session.execute(
            text("update jobs set state = 'succeeded' where worker_id = :id and state = 'queued'"),
            {"id": worker},
        )


def test_long_jobs_beside_quick_ones_do_not_fill_the_window(
    ledger: Ledger, app: Celery, client: redis.Redis, settings: Settings
) -> None:
    worker = make_worker(ledger)
    quick, long = make_batch(ledger, 500), make_batch(ledger, 500)
    known_cost(ledger, quick, 0.5)
    known_cost(ledger, long, 100)

    step(Dispatcher(ledger, app, settings), ledger)

    shares = batches_of(ledger, listed_for(client, settings, worker))
    assert shares[long] <= 1
    assert shares[quick] == 10, "a bundle of its own, before or behind the long one"


def test_quick_and_long_jobs_have_the_same_time_in_the_long_run(
    ledger: Ledger, app: Celery, client: redis.Redis, settings: Settings
) -> None:
    worker = make_worker(ledger)
    quick, long = make_batch(ledger, 700), make_batch(ledger, 20)
    known_cost(ledger, quick, 0.5)
    known_cost(ledger, long, 20)
    dispatcher = Dispatcher(ledger, app, settings)

    for _ in range(25):
        step(dispatcher, ledger)
        finish_queued(ledger, worker)

    with ledger.begin() as session:
        rows = session.execute(text("select batch_id from jobs where state = 'succeeded'"))
        had = Counter(row.batch_id for row in rows)
    assert abs(had[quick] * 0.5 - had[long] * 20) <= 25


def test_what_a_worker_runs_counts_as_much_as_what_waits_for_it(
    ledger: Ledger, app: Celery, settings: Settings
) -> None:
    worker = make_worker(ledger)
    batch = make_batch(ledger, 500)
    known_cost(ledger, batch, 100)
    dispatcher = Dispatcher(ledger, app, settings)
    assert step(dispatcher, ledger) == 2
    with ledger.begin() as session:
        tickets = list(queueing.queued(session))
        assert len(jobs.claim(session, tickets, worker_id=worker, deadline_s=60)) == 2

    assert step(dispatcher, ledger) == 0


def test_a_bundle_goes_to_the_worker_that_has_its_pipeline_resident(
    ledger: Ledger, app: Celery, client: redis.Redis, settings: Settings
) -> None:
    both = (ENDPOINT, OTHER)
    has_other = make_worker(ledger, ready=both, resident={OTHER: 1})
    has_it = make_worker(ledger, ready=both, resident={ENDPOINT: 1})
    make_batch(ledger, 5)

    step(Dispatcher(ledger, app, settings), ledger)

    assert len(listed_for(client, settings, has_it)) == 5
    assert not listed_for(client, settings, has_other)
    assert not listed(client, settings)


def test_a_worker_switches_once_the_other_pipeline_has_waited_too_long_and_not_before(
    ledger: Ledger, app: Celery, settings: Settings
) -> None:
    worker = make_worker(ledger, ready=(ENDPOINT, OTHER), resident={ENDPOINT: 1})
    make_batch(ledger, 500)
    make_batch(ledger, rows_of(OTHER, 500), endpoint=OTHER)
    dispatcher = Dispatcher(ledger, app, settings)
    with ledger.begin() as session:
        now = database_time(session)

    given: list[set[str]] = []
    for seconds in range(0, 100, 10):
        dispatcher.step(now + timedelta(seconds=seconds))
        with ledger.begin() as session:
            given.append({each.pipeline for each in queueing.queued(session).values()})
        finish_queued(ledger, worker)

    assert settings.switch_after_s == 30
    assert given == [{ENDPOINT}] * 4 + [{OTHER}] * 3 + [{ENDPOINT}] * 3


def test_what_no_living_worker_can_serve_waits_in_its_pipeline_s_queue(
    ledger: Ledger, app: Celery, client: redis.Redis, settings: Settings
) -> None:
    make_worker(ledger, ready=(OTHER,))
    make_batch(ledger, 5)

    step(Dispatcher(ledger, app, settings), ledger)

    assert len(listed(client, settings)) == 5


def test_a_worker_that_is_stopping_is_given_nothing(
    ledger: Ledger, app: Celery, client: redis.Redis, settings: Settings
) -> None:
    stopping, staying = make_worker(ledger, stopping=True), make_worker(ledger)
    make_batch(ledger, 5)

    step(Dispatcher(ledger, app, settings), ledger)

    assert not listed_for(client, settings, stopping)
    assert len(listed_for(client, settings, staying)) == 5


def test_two_schedulers_at_once_publish_every_job_once(
    ledger: Ledger, app: Celery, client: redis.Redis, settings: Settings
) -> None:
    workers = [make_worker(ledger) for _ in range(2)]
    for _ in range(4):
        make_batch(ledger, 100)
    start = threading.Barrier(2)

    def dispatch() -> int:
        dispatcher = Dispatcher(ledger, broker.make_app(settings), settings)
        start.wait(10)
        return sum(step(dispatcher, ledger) for _ in range(3))

    with ThreadPoolExecutor(2) as pool:
        counts = [each.result(30) for each in [pool.submit(dispatch) for _ in range(2)]]

    lists = [client.lrange(name(settings, worker), 0, -1) for worker in workers]
    published = [ticket for raw in itertools.chain(*lists) for ticket in tickets_in(raw)]
    with ledger.begin() as session:
        queued = set(queueing.queued(session))
    assert sum(counts) == len(published) == len(set(published))
    assert set(published) == queued


def name(settings: Settings, worker: UUID) -> str:
    return settings.redis_prefix + broker.worker_queue(worker)


def tickets_in(raw: bytes) -> list[Ticket]:
    """Read a message as a worker does."""
    args, _kwargs, _embed = json.loads(base64.b64decode(json.loads(raw)["body"]))
    return broker.tickets_of(args[0])
