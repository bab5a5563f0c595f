"""What a step of dispatch and claim takes in a large ledger, beside a small one; what a row takes.

Rows are made by the server. While steps are measured, another connection holds a snapshot from
before the first of them, so that no vacuum can take away what they leave dead.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import psycopg
from sqlalchemy import text

from scheduler.ledger import batches, jobs, queueing
from scheduler.ledger.queueing import Line
from scheduler.ledger.session import Ledger, database_time
from scheduler.settings import Settings
from tests.benchmarks.figures import Figure, Report, load, percentile
from tests.benchmarks.servers import Servers
from tests.factories import ENDPOINT, make_submission, make_worker

SMALL_ROWS = 10_000
LARGE_ROWS = 1_000_000
BATCHES = 100
STEPS = 300
BUNDLE = 16
_FILL = text("""
insert into jobs (id, batch_id, line, state, pipeline, endpoint, source, destination,
    destination_key, arguments, seed, ended_at, outcome)
select cast(left(replace(cast(cast(:id as uuid) as text), '-', ''), 24)
        || lpad(to_hex(line), 8, '0') as uuid),
    :id, line, case when line % :waiting = 0 then 'waiting' else 'succeeded' end, :endpoint,
    :endpoint, 's3://photos/in/' || line || '.jpg', 's3://photos/out/' || line || '.png',
    cast(md5(cast(line as text)) as uuid), '{"scale": 4.0}', line,
    case when line % :waiting = 0 then null else now() end,
    case when line % :waiting = 0 then null
        else cast('{"objects": [{"bytes": 1234567, "sha256": "0123456789abcdef"}]}' as jsonb) end
from generate_series(1, :rows) as line
""")
_SIZE = text("""
select sum(pg_total_relation_size(inhrelid)) from pg_inherits where inhparent = 'jobs'::regclass
""")


def run(servers: Servers) -> Report:
    """Measure the small ledger first, then the large one."""
    small, _ = _measured(servers, SMALL_ROWS, waiting=1)
    large, row_bytes = _measured(servers, LARGE_ROWS, waiting=10)
    figures = [
        _compared(f"dispatch and claim {BUNDLE} jobs, p{percent}", percent, small, large)
        for percent in (50, 99)
    ]
    size = Figure(
        name="disk of a row with its indexes",
        measured=f"{row_bytes:.0f} bytes",
        baseline=f"100 M rows: {row_bytes / 10:.0f} GB",
    )
    notes = (f"scale: {LARGE_ROWS:,} rows against {SMALL_ROWS:,}, {STEPS} steps; load {load()}",)
    return Report(figures=(*figures, size), notes=notes)


def _compared(name: str, percent: int, small: list[float], large: list[float]) -> Figure:
    one, base = percentile(large, percent), percentile(small, percent)
    return Figure(
        name=name,
        measured=f"{one * 1000:.1f} ms",
        baseline=f"ledger of {SMALL_ROWS:,} rows: {base * 1000:.1f} ms",
        ratio=f"{one / base:.2f} x",
        target="<= 1.5 x",
        met=one / base <= 1.5,
    )


def _measured(servers: Servers, rows: int, *, waiting: int) -> tuple[list[float], float]:
    """Return the seconds of each step, and the bytes of a row; one row of `waiting` waits."""
    with servers.system() as settings:
        ledger = Ledger(settings)
        filled = [_fill(ledger, rows // BATCHES, waiting) for _ in range(BATCHES)]
        with ledger.autocommit() as connection:
            connection.execute(text("analyze jobs"))
            row_bytes = float(connection.scalar(_SIZE)) / rows
        with _old_snapshot(settings):
            seconds = _steps(ledger, filled)
        ledger.close()
    return seconds, row_bytes


def _fill(ledger: Ledger, rows: int, waiting: int) -> UUID:
    made = make_submission()
    with ledger.begin() as session:
        batches.submit(session, made, again=False)
        session.execute(
            _FILL, {"id": made.id, "rows": rows, "waiting": waiting, "endpoint": ENDPOINT}
        )
    return made.id


@contextmanager
def _old_snapshot(settings: Settings) -> Iterator[None]:
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("select 1 from batches")
        yield


def _steps(ledger: Ledger, filled: list[UUID]) -> list[float]:
    """Take and claim a bundle of the batches in turn."""
    worker = make_worker(ledger, lease_s=3600)
    seconds = []
    for step in range(STEPS):
        began = time.perf_counter()
        with ledger.begin(durable=False) as session:
            now = database_time(session)
            batch = filled[step % len(filled)]
            taken = queueing.take(session, Line(batch, ENDPOINT), limit=BUNDLE, now=now)
        with ledger.begin(durable=False) as session:
            jobs.claim(session, [job.ticket for job in taken], worker_id=worker, deadline_s=3600)
        seconds.append(time.perf_counter() - began)
    return seconds
