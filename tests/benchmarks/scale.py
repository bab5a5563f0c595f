"""What a step of dispatch and claim takes in a large ledger, beside a small one; what a row takes.

Rows are made by the server: of each batch the last ones wait. While the large ledger is drained,
another connection holds a snapshot from before the first step, so that no vacuum can take away what
the steps leave dead; steps are measured once it is old, in turn with steps in the small ledger.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from uuid import UUID

import psycopg
import redis
from sqlalchemy import text

from scheduler import broker
from scheduler.dispatch import Dispatcher
from scheduler.ledger import batches, jobs
from scheduler.ledger.jobs import Claimed, Ending, Ticket
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.tables import JobState
from scheduler.loop import settle
from scheduler.settings import Settings
from tests.benchmarks.figures import Figure, Report, load, percentile
from tests.benchmarks.servers import Servers
from tests.factories import ENDPOINT, make_submission, make_worker

ROWS = int(os.environ.get("BENCH_LEDGER_ROWS", "1000000"))
"""Of the large ledger; one of ten waits."""
SNAPSHOT_S = float(os.environ.get("BENCH_SNAPSHOT_S", "30"))
"""How old the snapshot is when steps are measured; the ledger is drained all the while."""
SMALL_ROWS = 10_000
BATCHES = 100
STEPS = 150
WORKERS = 2
COST_S = 0.3
"""Of a job: of these a bundle has so many."""
SETTLE_S = 0.25
BUNDLE = 16
_FILL = text("""
insert into jobs (id, batch_id, line, state, pipeline, endpoint, source, destination,
    destination_key, arguments, seed, ended_at, outcome)
select cast(left(replace(cast(cast(:id as uuid) as text), '-', ''), 24)
        || lpad(to_hex(line), 8, '0') as uuid),
    :id, line, case when line > :ended then 'waiting' else 'succeeded' end, :endpoint,
    :endpoint, 's3://photos/in/' || line || '.jpg', 's3://photos/out/' || line || '.png',
    cast(md5(cast(line as text)) as uuid), '{"scale": 4.0}', line,
    case when line > :ended then null else now() end,
    case when line > :ended then null
        else cast('{"objects": [{"bytes": 1234567, "sha256": "0123456789abcdef"}]}' as jsonb) end
from generate_series(1, :rows) as line
""")
_OPEN = text("""
update batches set state = 'open', read_at = now(), pipelines = array[endpoint],
    total = :rows + 100, succeeded = 100, device_s = 100 * :cost_s where id = :id
""")
_SIZE = text("""
select sum(pg_total_relation_size(inhrelid)) from pg_inherits where inhparent = 'jobs'::regclass
""")


@dataclass(kw_only=True)
class System:
    """A ledger that is being drained.

    Attributes:
        ledger: It.
        dispatcher: With its memory.
        workers: Who claims.
        client: Where the messages are.
        settings: Of both.
        row_bytes: What a row took before the first step.
        done: How many jobs ended.
        settled: When counters were folded last.
    """

    ledger: Ledger
    dispatcher: Dispatcher
    workers: list[UUID]
    client: redis.Redis
    settings: Settings
    row_bytes: float
    done: int = 0
    settled: float = 0.0

    def step(self) -> float:
        """Dispatch, claim and finish a bundle for each worker; return the first two's seconds."""
        with self.ledger.begin(durable=False) as session:
            now = database_time(session)
        if time.monotonic() - self.settled > SETTLE_S:
            settle(self.ledger)
            self.settled = time.monotonic()
        began = time.perf_counter()
        self.dispatcher.step(now)
        seconds = time.perf_counter() - began
        held: dict[UUID, list[Claimed]] = {}
        for worker in self.workers:
            tickets = self._messages(worker)
            began = time.perf_counter()
            with self.ledger.autocommit(durable=False) as connection:
                held[worker] = jobs.claim(connection, tickets, worker_id=worker, deadline_s=3600)
            seconds += time.perf_counter() - began
        for worker, found in held.items():
            endings = [
                Ending(ticket=each.ticket, state=JobState.SUCCEEDED, device_s=COST_S)
                for each in found
            ]
            with self.ledger.begin(durable=False) as session:
                self.done += len(jobs.finish(session, endings, worker_id=worker))
        assert any(held.values()), "nothing was dispatched"
        return seconds

    def _messages(self, worker: UUID) -> list[Ticket]:
        """Take all messages for a worker."""
        queue = broker.worker_queue(worker)
        listed = broker.presence(self.client, self.settings, [queue]).listed
        self.client.delete(self.settings.redis_prefix + queue)
        return list(listed)


def run(servers: Servers) -> Report:
    """Drain the large ledger until the snapshot is old; then measure both in turn."""
    with (
        _system(servers, SMALL_ROWS, waiting=1) as small,
        _system(servers, ROWS, waiting=10) as large,
        _old_snapshot(large.settings),
    ):
        drained = _drain(large)
        first_s = large.step()
        seconds = [(large.step(), small.step()) for _ in range(STEPS)]
        row_bytes = large.row_bytes
    figures = [_compared(percent, *zip(*seconds, strict=True)) for percent in (50, 99)]
    first = Figure(
        name="the first such step of a scheduler that begins to lead", measured=f"{first_s:.2f} s"
    )
    size = Figure(
        name="disk of a row with its indexes",
        measured=f"{row_bytes:.0f} bytes",
        baseline=f"100 M rows: {row_bytes / 10:.0f} GB",
    )
    note = (
        f"scale: {ROWS:,} rows, one of ten waiting, against {SMALL_ROWS:,}, all waiting;"
        f" {drained:,} jobs passed through under a snapshot of {SNAPSHOT_S:g} s before {STEPS}"
        f" steps were measured; load {load()}"
    )
    return Report(figures=(*figures, first, size), notes=(note,))


def _compared(percent: int, large: Sequence[float], small: Sequence[float]) -> Figure:
    one, base = percentile(large, percent), percentile(small, percent)
    return Figure(
        name=f"dispatch and claim a bundle for each of {WORKERS} workers, p{percent}",
        measured=f"{one * 1000:.1f} ms",
        baseline=f"ledger of {SMALL_ROWS:,} rows: {base * 1000:.1f} ms",
        ratio=f"{one / base:.2f} x",
        target="<= 1.5 x",
        met=one / base <= 1.5,
    )


@contextmanager
def _system(servers: Servers, rows: int, *, waiting: int) -> Iterator[System]:
    """Make a ledger of so many rows, of which one of `waiting` waits, and workers for it."""
    with servers.system() as settings:
        ledger = Ledger(settings)
        for _ in range(BATCHES):
            fill(ledger, rows // BATCHES, waiting)
        with ledger.autocommit() as connection:
            connection.execute(text("analyze jobs"))
            row_bytes = float(connection.scalar(_SIZE)) / rows
        yield System(
            ledger=ledger,
            dispatcher=Dispatcher(ledger, broker.make_app(settings), settings),
            workers=[make_worker(ledger, lease_s=36_000, name=f"w:{n}") for n in range(WORKERS)],
            client=broker.connect(settings),
            settings=settings,
            row_bytes=row_bytes,
        )
        ledger.close()


def fill(ledger: Ledger, rows: int, waiting: int) -> None:
    """Make a batch of so many rows, of which one of `waiting` waits."""
    made = make_submission()
    with ledger.begin() as session:
        batches.submit(session, made, again=False)
        session.execute(
            _FILL,
            {"id": made.id, "rows": rows, "ended": rows - rows // waiting, "endpoint": ENDPOINT},
        )
        session.execute(_OPEN, {"id": made.id, "rows": rows, "cost_s": COST_S})


@contextmanager
def _old_snapshot(settings: Settings) -> Iterator[None]:
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select 1 from batches")
        yield


def _drain(system: System) -> int:
    """Let jobs pass through in large bundles, leave some for the measurement, and count them."""
    wide = system.settings.model_copy(update={"bundle_jobs": 500, "bundle_s": 500 * COST_S})
    draining = replace(
        system, dispatcher=Dispatcher(system.ledger, broker.make_app(wide), wide), settings=wide
    )
    until = time.monotonic() + SNAPSHOT_S
    most = ROWS // 10 - 2 * (STEPS + 1) * WORKERS * BUNDLE
    while time.monotonic() < until and draining.done < most:
        draining.step()
    time.sleep(max(0.0, until - time.monotonic()))
    return draining.done
