"""How many rows a second enter the ledger, beside a plain COPY of the same rows."""

import statistics
import time
from uuid import UUID, uuid4

import psycopg

from scheduler.ledger import batches, intake
from scheduler.ledger.intake import NewJob
from scheduler.ledger.periods import job_id
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.servers import Servers
from tests.factories import make_chunk, make_row, make_submission

ROWS = 50_000
ROUNDS = 3
PLAIN = (
    "id, batch_id, line, state, pipeline, endpoint, source, destination, destination_key, arguments"
)


def run(servers: Servers) -> Report:
    """Measure in rounds, and take the medians."""
    ours: list[float] = []
    plain: list[float] = []
    with servers.system() as settings:
        for _ in range(ROUNDS):
            rows = [make_row(line) for line in range(1, ROWS + 1)]
            plain.append(plain_rate(settings, rows))
            ours.append(our_rate(settings, rows))
    ratio = statistics.median(one / base for one, base in zip(ours, plain, strict=True))
    figure = Figure(
        name="rows into the ledger: unique destinations, counters, cursor",
        measured=f"{statistics.median(ours):,.0f} rows/s",
        baseline=f"plain COPY into the same table: {statistics.median(plain):,.0f} rows/s",
        ratio=f"{ratio:.2f} x",
    )
    return Report(
        figures=(figure,),
        notes=(
            f"rows: {ROUNDS} rounds of {ROWS:,}, chunks of {settings.ingest_rows:,}; load {load()}",
        ),
    )


def our_rate(settings: Settings, rows: list[NewJob]) -> float:
    """Return rows a second through `intake.append`, a transaction for each chunk."""
    ledger = Ledger(settings)
    made = make_submission()
    with ledger.begin() as session:
        batches.submit(session, made, again=False)
    cursor = None
    began = time.perf_counter()
    for at in range(0, len(rows), settings.ingest_rows):
        some = rows[at : at + settings.ingest_rows]
        chunk = make_chunk(some, before=cursor, last=at + len(some) == len(rows))
        with ledger.begin() as session:
            assert intake.append(session, made.id, chunk)
        cursor = chunk.cursor
    seconds = time.perf_counter() - began
    ledger.close()
    return len(rows) / seconds


def plain_rate(settings: Settings, rows: list[NewJob]) -> float:
    """Return rows a second through psycopg's COPY, a transaction for each chunk."""
    assert settings.database_url is not None
    batch_id = uuid4()
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute("create table plain (like jobs including all)")
        # The one index that is the partitions' own.
        connection.execute("create unique index on plain (batch_id, destination_key)")
        connection.commit()
        began = time.perf_counter()
        for at in range(0, len(rows), settings.ingest_rows):
            with (
                connection.cursor() as cursor,
                cursor.copy(f"copy plain ({PLAIN}) from stdin") as copy,
            ):
                for row in rows[at : at + settings.ingest_rows]:
                    id_ = job_id(batch_id, row.line)
                    copy.write_row((id_, batch_id, row.line, "waiting", *_rest(row, id_)))
            connection.commit()
        seconds = time.perf_counter() - began
        connection.execute("drop table plain")
    return len(rows) / seconds


def _rest(row: NewJob, key: UUID) -> tuple[object, ...]:
    return (row.pipeline, row.endpoint, row.source, row.destination, key, row.arguments)
