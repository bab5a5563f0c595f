"""A real engine on a real ledger, around stages that a test decides."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from scheduler.ledger import queueing
from scheduler.ledger.jobs import Ending, Ticket
from scheduler.ledger.queueing import Line
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.tables import Job, JobState
from scheduler.settings import Settings
from tests.factories import ENDPOINT, make_worker
from workers.engine import Engine
from workers.life import Life
from workers.stages import Stages

PATIENCE_S = 20.0
"""The longest that a test waits for a thread to do what it must."""


def nothing(*_args: Any) -> None:
    """Be a stage that has nothing to do."""


def succeed(life: Life, _enlarged: Any = None) -> Ending:
    """Be the store stage of a job that went well."""
    return Ending(
        ticket=life.ticket,
        state=JobState.SUCCEEDED,
        outcome='{"objects": []}',
        bytes_out=1,
        device_s=life.device_s,
    )


def make_stages(**overrides: Any) -> Stages[Any, Any]:
    """Return stages that succeed at once; name only those that the test is about."""
    return Stages(**{"fetch": nothing, "upscale": nothing, "store": succeed} | overrides)


class Barrier:
    """Where a job waits until the test lets it go on."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.open = threading.Event()

    def pass_through(self) -> None:
        """Arrive, and wait to be let through."""
        self.arrived.set()
        assert self.open.wait(PATIENCE_S), "nobody opened the barrier"

    def await_arrival(self) -> None:
        """Wait until somebody has arrived."""
        assert self.arrived.wait(PATIENCE_S), "nobody came to the barrier"


class Rig:
    """An engine, and what is known of its jobs."""

    def __init__(self, ledger: Ledger, settings: Settings, stages: Stages[Any, Any]) -> None:
        self.ledger = ledger
        self.worker_id = make_worker(ledger)
        self.engine = Engine(ledger, self.worker_id, stages, settings)
        self._runs: list[threading.Thread] = []

    def queue(self, batch_id: UUID, limit: int = 1000, *, pipeline: str = ENDPOINT) -> list[Ticket]:
        """Queue a batch's jobs as the scheduler does, and return their tickets."""
        found = queue(self.ledger, batch_id, limit, pipeline=pipeline)
        return [each.ticket for each in found]

    def hand_in(self, tickets: Sequence[Ticket]) -> threading.Thread:
        """Hand a bundle to the engine as a Celery thread does, and don't wait for it."""
        thread = threading.Thread(target=self.engine.run, args=(tickets,))
        self._runs.append(thread)
        thread.start()
        return thread

    def run(self, tickets: Sequence[Ticket]) -> None:
        """Hand a bundle in and wait until the engine is done with it."""
        wait(self.hand_in(tickets))

    def close(self) -> None:
        """Drain, and see that every bundle was let go."""
        self.engine.drain(PATIENCE_S)
        for thread in self._runs:
            wait(thread)


def wait(thread: threading.Thread) -> None:
    """Wait for a thread to end."""
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), "a bundle was not let go"


@contextmanager
def rig(
    ledger: Ledger, settings: Settings, stages: Stages[Any, Any] | None = None
) -> Iterator[Rig]:
    """Run an engine for a block."""
    running = Rig(ledger, settings, stages or make_stages())
    running.engine.start()
    try:
        yield running
    finally:
        running.close()


def queue(
    ledger: Ledger, batch_id: UUID, limit: int = 1000, *, pipeline: str = ENDPOINT
) -> list[queueing.Queued]:
    """Queue a batch's waiting jobs."""
    with ledger.begin() as session:
        now = database_time(session)
        return queueing.take(session, Line(batch_id, pipeline), limit=limit, now=now)


def rows(ledger: Ledger, batch_id: UUID) -> list[Job]:
    """Return a batch's jobs, by line."""
    with ledger.begin() as session:
        return list(session.query(Job).where(Job.batch_id == batch_id).order_by(Job.line))


def states_in_the_end(settings: Settings, batch_id: UUID) -> list[JobState]:
    """Return the states over fresh connections, after a test has cut all others."""
    ledger = Ledger(settings, connections=1)
    try:
        return states(ledger, batch_id)
    finally:
        ledger.close()


def states(ledger: Ledger, batch_id: UUID) -> list[JobState]:
    """Return the states of a batch's jobs, by line."""
    return [JobState(row.state) for row in rows(ledger, batch_id)]
