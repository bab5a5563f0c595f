"""A thread that is many workers: it takes their messages, claims, waits, completes, and beats.

What it asks of PostgreSQL and Redis is what that many processes would, statement for statement. It
takes their messages as they lie in Redis, without Celery, whose consumer has a connection for each
process; and instead of devices there is the time that they would take.
"""

import heapq
import json
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

import redis
from uuid_utils.compat import uuid7

from models.version import VERSION
from scheduler import broker
from scheduler.ledger import fleet, jobs
from scheduler.ledger.fleet import Self
from scheduler.ledger.jobs import Ending, Ticket
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from tests.factories import ENDPOINT

TOGETHER = 8
"""Jobs that share a call on the device, and so are completed in one transaction."""
LISTENS_S = (0.01, 0.2)
"""Shortest and longest wait for a message: Redis cuts off what is below 1 ms, and 0 is for ever."""
BEATS_PER_LEASE = 4
OUTCOME = json.dumps({"objects": [{"bytes": 1234567, "sha256": "0123456789abcdef" * 4}]})


@dataclass(kw_only=True)
class Counted:
    """What came of a lane's workers so far.

    Attributes:
        ended: Jobs that ended by a completion of theirs.
        lost: Jobs that they held, and were not theirs to complete.
        claims: Bundles that were claimed.
        beats: Heartbeats.
        late_s: How late the latest heartbeat was.
    """

    ended: int = 0
    lost: int = 0
    claims: int = 0
    beats: int = 0
    late_s: float = 0.0


@dataclass(kw_only=True)
class Worker:
    """One of them: how it describes itself, and until when its device is busy."""

    described: Self
    busy_until: float = 0.0


@dataclass(kw_only=True, order=True)
class Due:
    """Something that a worker does at a time: completes what it names, or beats."""

    at: float
    order: int
    worker: Worker = field(compare=False)
    tickets: Sequence[Ticket] = field(compare=False, default=())


class Lane:
    """Does the work of its workers, one thing after the other, until it is stopped."""

    def __init__(
        self, ledger: Ledger, settings: Settings, *, names: Sequence[str], job_s: float
    ) -> None:
        """Write the workers into the ledger, their first heartbeats spread over the first period.

        Args:
            ledger: Shared by all lanes.
            settings: Of the system.
            names: One for each worker.
            job_s: What a job takes on a device.
        """
        self.counted = Counted()
        self._ledger = ledger
        self._settings = settings
        self._job_s = job_s
        self._client = redis.Redis.from_url(broker.redis_url(settings))
        self._due: list[Due] = []
        self._order = 0
        self._workers: dict[bytes, Worker] = {}
        self._beat_s = settings.lease_s / BEATS_PER_LEASE
        began = time.monotonic()
        for place, name in enumerate(names):
            worker = Worker(described=_described(name))
            self._beat(worker)
            key = settings.redis_prefix + broker.worker_queue(worker.described.id)
            self._workers[key.encode()] = worker
            self._plan(began + self._beat_s * (place + 1) / len(names), worker)

    def run(self, stop: threading.Event) -> None:
        """Work until stopped."""
        # Whoever is asked for first is served first: so they take turns.
        queues = deque(self._workers)
        while not stop.is_set():
            self._do_what_is_due()
            shortest, longest = LISTENS_S
            wait_s = min(longest, max(shortest, self._due[0].at - time.monotonic()))
            found = cast(Any, self._client.blpop(list(queues), timeout=wait_s))
            if found is not None:
                key, raw = found
                queues.remove(key)
                queues.append(key)
                self._claim(self._workers[key], raw)
        self._client.close()

    def _do_what_is_due(self) -> None:
        while self._due[0].at <= time.monotonic():
            due = heapq.heappop(self._due)
            if due.tickets:
                self._complete(due.worker, due.tickets)
            else:
                self.counted.late_s = max(self.counted.late_s, time.monotonic() - due.at)
                self._beat(due.worker)
                self._plan(due.at + self._beat_s, due.worker)

    def _plan(self, at: float, worker: Worker, tickets: Sequence[Ticket] = ()) -> None:
        self._order += 1
        heapq.heappush(self._due, Due(at=at, order=self._order, worker=worker, tickets=tickets))

    def _claim(self, worker: Worker, raw: bytes) -> None:
        """Claim a message's jobs, and plan when each part of them will be done."""
        with self._ledger.autocommit(durable=False) as connection:
            claimed = jobs.claim(
                connection,
                broker.tickets_in(raw),
                worker_id=worker.described.id,
                deadline_s=self._settings.job_deadline_s,
            )
        self.counted.claims += 1
        tickets = [each.ticket for each in claimed]
        worker.busy_until = max(worker.busy_until, time.monotonic())
        for begin in range(0, len(tickets), TOGETHER):
            part = tickets[begin : begin + TOGETHER]
            worker.busy_until += len(part) * self._job_s
            self._plan(worker.busy_until, worker, part)

    def _complete(self, worker: Worker, tickets: Sequence[Ticket]) -> None:
        endings = [
            Ending(ticket=ticket, state=JobState.SUCCEEDED, outcome=OUTCOME, device_s=self._job_s)
            for ticket in tickets
        ]
        with self._ledger.begin() as session:
            ended = jobs.finish(session, endings, worker_id=worker.described.id)
        self.counted.ended += len(ended)
        self.counted.lost += len(tickets) - len(ended)

    def _beat(self, worker: Worker) -> None:
        with self._ledger.begin(durable=False) as session:
            fleet.renew(session, worker.described, lease_s=self._settings.lease_s)
            fleet.held_by(session, worker.described.id)
        self.counted.beats += 1


def _described(name: str) -> Self:
    id_: UUID = uuid7()
    return Self(
        id=id_,
        name=name,
        device="cuda:0 pretended",
        memory_bytes=2**36,
        version=VERSION,
        ready=(ENDPOINT,),
        resident={ENDPOINT: 2**30},
    )
