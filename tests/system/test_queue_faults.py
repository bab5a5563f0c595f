"""Redis forgets, Redis restarts, and messages are lost, doubled, stale or senseless."""

import random
import signal
from uuid import UUID

import pytest
from redis.connection import ConnectionInterface
from uuid_utils.compat import uuid7

from scheduler import broker
from scheduler.ledger import fleet
from scheduler.ledger.jobs import Ticket
from scheduler.settings import Settings
from tests.system.invariants import check_all_succeeded
from tests.system.paced import ENDPOINT
from tests.system.system import QUEUE, System, moments

pytestmark = pytest.mark.faults

RUNS_AGAIN_S = 10.0
LONGER_THAN_ITS_NEIGHBOURS_S = 3
"""Celery's own wait at a list is renewed each second, and goes to the end of the line by that."""


def test_a_flush_of_redis_costs_time_and_nothing_else(
    system: System, chance: random.Random, strikes: int
) -> None:
    jobs = 60 * strikes
    system.start_scheduler()
    system.start_worker()
    batch = system.submit_photos(jobs)

    for moment in moments(chance, strikes, jobs=jobs):
        system.wait_until_ended(batch, moment)
        system.servers.flush_redis()

    system.wait_finished(batch)
    check_all_succeeded(system, batch)
    assert {row.failures for row in system.rows(batch)} == {0}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_restart_of_redis_costs_time_and_nothing_else(
    system: System, chance: random.Random, strikes: int, how: signal.Signals
) -> None:
    jobs = 60 * strikes
    system.start_scheduler()
    system.start_worker()
    batch = system.submit_photos(jobs)

    for moment in moments(chance, strikes, jobs=jobs):
        system.wait_until_ended(batch, moment)
        system.servers.restart_redis(how)

    system.wait_finished(batch)
    check_all_succeeded(system, batch)
    assert {row.failures for row in system.rows(batch)} == {0}


def test_a_message_lost_between_redis_and_its_worker_runs_again_within_ten_seconds(
    system: System,
) -> None:
    unhurried = {name: Settings.model_fields[name].default for name in ("sweep_s", "poll_s")}
    system.adjust(**unhurried, lease_s=60.0)
    system.start_scheduler()
    system.start_worker()
    folder = system.photos(1)

    with system.servers.connect() as client:
        dying = client.connection_pool.get_connection()
        _get_in_line_first(system, dying)
        batch = system.submit(folder)
        assert b"enlarger.upscale" in dying.read_response()[1]
        dying.disconnect()

    system.wait_for("the job to run", lambda: system.progress(batch).ended, within_s=RUNS_AGAIN_S)
    system.wait_finished(batch)
    check_all_succeeded(system, batch)
    assert {row.failures for row in system.rows(batch)} == {0}


def _get_in_line_first(system: System, connection: ConnectionInterface) -> None:
    """Wait for a message as a worker does, longer than the worker: the next one is ours."""
    connection.send_command("CLIENT", "ID")
    ours = str(connection.read_response())
    system.wait_for("the worker's row", lambda: _queues(system), within_s=30)
    connection.send_command("BRPOP", *_queues(system), 0)

    def is_first() -> bool:
        with system.servers.connect() as client:
            waits = {each["id"]: int(each["idle"]) for each in client.client_list()}
        return waits[ours] >= LONGER_THAN_ITS_NEIGHBOURS_S

    system.wait_for("the turn of the client that will die", is_first, within_s=30)


def _queues(system: System) -> list[str]:
    """Return the keys of the queues of all living workers."""
    with system.ledger.begin() as session:
        workers = fleet.alive(session)
    return [system.settings.redis_prefix + broker.worker_queue(worker.id) for worker in workers]


def test_doubled_stale_and_senseless_messages_make_no_job_run_twice(
    system: System, chance: random.Random, strikes: int
) -> None:
    jobs = 60 * strikes
    system.start_scheduler()
    system.start_worker()
    batch = system.submit_photos(jobs)

    for moment in moments(chance, strikes, jobs=jobs):
        system.wait_until_ended(batch, moment)
        _inject(system, batch, chance)

    system.wait_finished(batch)
    check_all_succeeded(system, batch)
    assert {row.epoch for row in system.rows(batch)} == {1}
    assert all(process.running for process in system.processes)


def _inject(system: System, batch: UUID, chance: random.Random) -> None:
    """Send every job's message twice more, and some that no job waits for."""
    rows = system.rows(batch)
    current = [Ticket(row.id, row.epoch) for row in rows]
    stale = [Ticket(row.id, row.epoch - 1) for row in rows]
    foreign = [Ticket(uuid7(), 0) for _ in range(10)]
    messages = [[ticket] for ticket in (*current, *current, *stale, *foreign)]
    chance.shuffle(messages)
    app = broker.make_app(system.settings)
    broker.publish(app, ENDPOINT, messages)
    app.send_task(broker.UPSCALE, args=[[["no job's id", 0]]], queue=QUEUE)
    app.send_task(broker.UPSCALE, args=[], queue=QUEUE)
    app.close()
