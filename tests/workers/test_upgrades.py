"""What each released version left behind is understood, and its work comes to its end."""

import base64
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from celery import Celery
from pydantic import SecretStr
from sqlalchemy import text

from scheduler import broker
from scheduler.dispatch import Dispatcher
from scheduler.doctor import check_schema
from scheduler.ledger import delivery_records, keys, steering
from scheduler.ledger.delivery_records import Choice
from scheduler.ledger.jobs import Ticket
from scheduler.ledger.session import Ledger, database_time, revisions, upgrade
from scheduler.loop import settle
from scheduler.settings import Settings
from scheduler.sweep import Sweeper
from tests.factories import ENDPOINT, make_batch, make_worker
from tests.processes import eventually
from tests.scheduler.test_webhook_sender import sender
from tests.upgrades import Recording, recordings, restore
from tests.workers.rig import Rig, rig
from workers.tasks import register

RECORDED = list(recordings())


@pytest.fixture(params=RECORDED, ids=[each.version for each in RECORDED])
def recording(request: pytest.FixtureRequest) -> Recording:
    found: Recording = request.param
    return found


@pytest.fixture
def inherited(recording: Recording, settings: Settings, empty_database_url: str) -> Settings:
    """A system of that version's, with the present version's schema."""
    found = settings.model_copy(update={"database_url": SecretStr(empty_database_url)})
    restore(recording, found)
    upgrade(found)
    return found


@pytest.fixture
def old(inherited: Settings) -> Iterator[Ledger]:
    ledger = Ledger(inherited, connections=2)
    yield ledger
    ledger.close()


@pytest.fixture
def app(settings: Settings) -> Celery:
    return broker.make_app(settings)


def states(ledger: Ledger, batch: str) -> list[str]:
    with ledger.begin() as session:
        found = text("select state from jobs where batch_id = :id order by line")
        return list(session.scalars(found, {"id": batch}))


def turned(worker: Rig, settings: Settings, sweeper: Sweeper, dispatcher: Dispatcher) -> set[str]:
    """Sweep, dispatch, work and count, once each; return the states of what isn't paused."""
    with worker.ledger.begin() as session:
        now = database_time(session)
    sweeper.step(now)
    dispatcher.step(now)
    client, queue = broker.connect(settings), broker.worker_queue(worker.worker_id)
    tickets = broker.presence(client, settings, [queue]).listed
    client.delete(settings.redis_prefix + queue)
    worker.run(sorted(tickets))
    settle(worker.ledger)
    with worker.ledger.begin() as session:
        found = text("""
            select jobs.state from jobs join batches on batches.id = batch_id
            where batches.state <> 'paused'
        """)
        return set(session.scalars(found))


def test_a_database_of_a_released_version_is_upgraded_and_drained(
    recording: Recording, inherited: Settings, old: Ledger
) -> None:
    batch, paused = recording.facts["batch"], recording.facts["paused"]
    before = states(old, batch)
    sweeper = Sweeper(old, broker.connect(inherited), inherited)
    dispatcher = Dispatcher(old, broker.make_app(inherited), inherited)
    with rig(old, inherited) as worker:
        eventually(lambda: turned(worker, inherited, sweeper, dispatcher) == {"succeeded"})
        still = states(old, paused)
        with old.begin() as session:
            steering.resume(session, UUID(paused))
        turned(worker, inherited, sweeper, dispatcher)

    assert before == ["succeeded", "running", "queued", "waiting"]
    assert (still, states(old, paused)) == (["waiting"], ["succeeded"])
    with old.begin() as session:
        counted = text("select state, succeeded from batches order by total desc")
        assert session.execute(counted).all() == [("finished", 4), ("finished", 1)]


def test_a_key_and_a_subscription_of_a_released_version_go_on_working(
    recording: Recording, inherited: Settings, old: Ledger
) -> None:
    with old.begin() as session:
        caller = keys.find(session, recording.facts["key"])
    with sender(inherited.model_copy(update={"redis_url": None})):
        eventually(lambda: [each.type for each in tried(old)] == ["job.succeeded"])

    assert caller is not None
    assert caller.owner == "ann"


def tried(ledger: Ledger) -> list[Any]:
    with ledger.begin() as session:
        return list(delivery_records.listed(session, Choice(), limit=9))


def test_a_message_of_a_released_version_is_understood(recording: Recording, app: Celery) -> None:
    got: list[Any] = []
    register(app, got.extend)
    body = json.loads(recording.message)
    assert body["headers"]["task"] == broker.UPSCALE
    tickets = broker.tickets_in(recording.message)

    app.tasks[broker.UPSCALE](*[[(str(each.job_id), each.epoch) for each in tickets]])

    assert [[str(each.job_id), each.epoch] for each in got] == recording.facts["tickets"]


@pytest.mark.parametrize(("args", "named"), [((2,), {}), ((), {"version": 2})])
def test_a_message_of_a_newer_version_is_left_to_newer_workers(
    recording: Recording, app: Celery, args: tuple[Any, ...], named: dict[str, Any]
) -> None:
    got: list[Any] = []
    register(app, got.extend)

    app.tasks[broker.UPSCALE](recording.facts["tickets"], *args, **named)

    assert got == []


def test_messages_go_to_those_older_versions_alone_that_know_their_form(
    recording: Recording, app: Celery, settings: Settings
) -> None:
    broker.publish(app, ENDPOINT, [[Ticket(uuid4(), 3)]])
    queue = settings.redis_prefix + broker.queue_name(ENDPOINT)
    (published,) = broker.connect(settings).lrange(queue, 0, -1)

    assert broker.reads(recording.version) == (form(published) == form(recording.message))


def form(raw: bytes) -> Any:
    """Return what a worker must know of a message to read it."""

    def kinds(value: Any) -> Any:
        return [kinds(each) for each in value] if isinstance(value, list) else type(value).__name__

    message = json.loads(raw)
    args, named, _ = json.loads(base64.b64decode(message["body"]))
    encoded = message["content-type"], message["content-encoding"]
    return message["headers"]["task"], encoded, sorted(message["headers"]), kinds(args), named


def test_workers_too_old_for_our_messages_are_sent_none(ledger: Ledger, settings: Settings) -> None:
    make_batch(ledger, 2)
    make_worker(ledger, version="0.0.9", name="old:1")
    new = make_worker(ledger, version="0.2.0.dev1", name="new:1")
    with ledger.begin() as session:
        now = database_time(session)
    Dispatcher(ledger, broker.make_app(settings), settings).step(now)

    with ledger.begin() as session:
        assert set(session.scalars(text("select worker_id from jobs"))) == {new}


def test_a_schema_that_is_newer_is_left_as_it_is(inherited: Settings, old: Ledger) -> None:
    with old.begin() as session:
        session.execute(text("update alembic_version set version_num = '9999'"))

    upgrade(inherited)

    assert revisions(inherited)[0] == "9999"
    assert check_schema(inherited).ok
