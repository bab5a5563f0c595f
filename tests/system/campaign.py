"""Everything that can go wrong, at random moments, for as long as a test wants.

Two schedulers and some workers are kept running, whatever happens to them.
"""

import random
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import text
from uuid_utils.compat import uuid7

from scheduler import broker
from scheduler.ledger import steering
from scheduler.ledger.jobs import Ticket
from tests.system.paced import ENDPOINT
from tests.system.process import Process
from tests.system.system import QUEUE, System

SCHEDULERS = 2
LONGEST_PAUSE_S = 3.0
"""Between two strikes."""
SETTLED_S = 15.0
"""A process this old has allocated what it needs."""
GROWTH_BYTES = 48 * 2**20
"""More is no wobble of an allocator."""


@dataclass
class Campaign:
    """Strikes a system, and looks how much memory its processes take.

    Attributes:
        system: With nothing started yet.
        chance: Decides what happens when.
        batches: What it works on.
        workers: How many to keep.
        pace_s: What a job takes.
        struck: How often each fault struck.
        leaving: Those that were told to stop.
        resting: Of each process, what it took when it had settled, and the last that was seen.
    """

    system: System
    chance: random.Random
    batches: list[UUID]
    workers: int
    pace_s: float
    struck: Counter[str] = field(default_factory=Counter)
    leaving: list[Process] = field(default_factory=list)
    resting: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def run(self, seconds: float) -> None:
        """Strike with one fault after the other, all before any again; leave everything running."""
        until = time.monotonic() + seconds
        faults: list[Callable[[], None]] = []
        self._keep_running()
        while time.monotonic() < until:
            time.sleep(self.chance.uniform(0.1, min(LONGEST_PAUSE_S, seconds / 20)))
            faults = faults or self.chance.sample(self._faults(), k=len(self._faults()))
            strike = faults.pop()
            strike()
            self.struck[strike.__name__.strip("_")] += 1
            self._keep_running()
            self._weigh()

    def check_memory(self) -> None:
        """Check that no process grew after it had settled."""
        grown = {
            name: sizes
            for name, sizes in self.resting.items()
            if sizes[-1] - sizes[0] > GROWTH_BYTES
        }
        assert not grown, f"grew from the first of these sizes to the last: {grown}"

    def most_grown(self) -> int:
        """Return by how much the process grew that grew most after it had settled, in MiB."""
        return max((sizes[-1] - sizes[0]) >> 20 for sizes in self.resting.values())

    def _faults(self) -> list[Callable[[], None]]:
        return [
            self._flush_redis,
            self._restart_redis,
            self._restart_postgres,
            self._kill_the_leader,
            self._kill_a_worker,
            self._stop_a_worker,
            self._stall_a_worker,
            self._lose_messages,
            self._repeat_messages,
            self._pause_a_batch,
        ]

    # Processes.

    def _keep_running(self) -> None:
        for _ in range(SCHEDULERS - len(self._running("scheduler"))):
            self.system.start_scheduler()
        for _ in range(self.workers - len(self._running("worker"))):
            self.system.start_idle_worker(pace_s=self.pace_s)

    def _running(self, name: str) -> list[Process]:
        """Return those that nobody told to stop."""
        return [
            each
            for each in self.system.processes
            if each.name == name and each.running and each not in self.leaving
        ]

    def _weigh(self) -> None:
        """Note what each takes, until the first report: to write one takes more, once."""
        if self._ask("select from batches where ended_at is not null"):
            return
        for each in self.system.processes:
            age_s, size = each.age_and_bytes()
            if age_s > SETTLED_S:
                self.resting[each.log.name].append(size)

    # Faults.

    def _flush_redis(self) -> None:
        self.system.servers.flush_redis()

    def _restart_redis(self) -> None:
        self.system.servers.restart_redis(self.chance.choice([signal.SIGTERM, signal.SIGKILL]))

    def _restart_postgres(self) -> None:
        self.system.restart_postgres(self.chance.choice([signal.SIGINT, signal.SIGKILL]))

    def _kill_the_leader(self) -> None:
        leader = self.system.leader() or self.chance.choice(self._running("scheduler"))
        leader.kill()

    def _kill_a_worker(self) -> None:
        self.chance.choice(self._running("worker")).kill()

    def _stop_a_worker(self) -> None:
        """Tell one to stop; it gives back what it holds while others go on."""
        worker = self.chance.choice(self._running("worker"))
        worker.signal(signal.SIGTERM)
        self.leaving.append(worker)

    def _stall_a_worker(self) -> None:
        """Let one sleep for longer than its lease, and come back with what it has lost."""
        worker = self.chance.choice(self._running("worker"))
        worker.signal(signal.SIGSTOP)
        time.sleep(self.system.settings.lease_s * 1.5)
        worker.signal(signal.SIGCONT)

    def _lose_messages(self) -> None:
        """Take a message from each worker's queue, and do nothing with it."""
        with self.system.servers.connect() as client:
            prefix = self.system.settings.redis_prefix
            for key in client.scan_iter(f"{prefix}worker.*"):
                client.rpop(key)

    def _repeat_messages(self) -> None:
        """Send messages of any jobs again, as they are and as they were, and some of nobody's."""
        rows = self._ask("select id, epoch from jobs tablesample bernoulli (1) limit 100")
        tickets = [Ticket(row.id, row.epoch - late) for row in rows for late in (0, 0, 1)]
        tickets += [Ticket(uuid7(), 0) for _ in range(5)]
        self.chance.shuffle(tickets)
        app = broker.make_app(self.system.settings)
        broker.publish(app, ENDPOINT, [[ticket] for ticket in tickets])
        app.send_task(broker.UPSCALE, args=[[["no job's id", 0]]], queue=QUEUE)
        app.close()

    def _pause_a_batch(self) -> None:
        batch = self.chance.choice(self.batches)
        with self.system.ledger.begin() as session:
            steering.pause(session, batch)
        time.sleep(self.chance.uniform(0, 1))
        with self.system.ledger.begin() as session:
            steering.resume(session, batch)

    def _ask(self, question: str) -> list[Any]:
        with self.system.ledger.begin() as session:
            return list(session.execute(text(question)))
