"""How rows become jobs: COPY, a chunk a transaction, the reader's cursor committed with it."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler.errors import RowInvalid
from scheduler.ledger import triggers
from scheduler.ledger.periods import MAX_LINE, id_stem, job_id

COLUMNS = (
    "id",
    "batch_id",
    "line",
    "state",
    "pipeline",
    "endpoint",
    "source",
    "source_version",
    "source_alternative",
    "destination",
    "destination_key",
    "custom_id",
    "arguments",
    "passthrough",
    "seed",
    "error",
)
_COPY = f"copy {{}} ({', '.join(COLUMNS)}, ended_at) from stdin"


class NewJob(NamedTuple):
    """A row on its way in; `arguments`, `passthrough` and `error` are JSON texts.

    `error` is set for a row that is rejected: it is counted and reported, and never runs. `line`
    is the row's place in its source; a feed gives its jobs lines of its own. Where `object` is set,
    the chunk's trigger takes it with the row, or leaves the row out since it was taken before.
    """

    line: int
    pipeline: str
    endpoint: str
    source: str | None
    source_version: str | None
    destination: str | None
    custom_id: str | None
    arguments: str
    passthrough: str | None
    seed: int | None
    source_alternative: str | None = None
    error: str | None = None
    object: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Consecutive rows of a source: the cursor they were read from, and the one after them."""

    rows: Sequence[NewJob]
    trigger_id: UUID | None = None
    skipped: int
    before: dict[str, Any] | None
    cursor: dict[str, Any] | None
    last: bool


def destination_key(destination: str) -> str:
    """Return 128 bits in hexadecimal that stand for a destination in the unique index."""
    return hashlib.sha256(destination.encode()).hexdigest()[:32]


def append(session: Session, batch_id: UUID, chunk: Chunk) -> bool:
    """Add a chunk's rows to a batch and move its cursor, in the caller's transaction.

    A row whose destination an earlier row of the batch has taken is rejected.

    Returns:
        False where the batch is no longer being read from there (it was cancelled, or another
        scheduler read on): nothing was added.

    Raises:
        RowInvalid: The batch has more lines than job ids can tell apart.
    """
    row = session.execute(
        text("select state, cursor from batches where id = :id for update"), {"id": batch_id}
    ).one()
    if row.state != "reading" or row.cursor != chunk.before:
        return False
    chunk = _untaken(session, chunk)
    _check_lines(chunk.rows)
    doubles = _copy_or_stage(session, batch_id, chunk.rows)
    _count(session, batch_id, chunk, doubles)
    session.execute(
        text(
            "update batches set cursor = cast(:cursor as jsonb),"
            " pipelines = array(select distinct unnest(pipelines || cast(:pipelines as text[]))),"
            " state = case when :last then 'open' else state end,"
            " read_at = case when :last then clock_timestamp() end where id = :id"
        ),
        {
            "id": batch_id,
            "cursor": json.dumps(chunk.cursor),
            "pipelines": sorted({row.pipeline for row in chunk.rows if row.error is None}),
            "last": chunk.last,
        },
    )
    return True


def _untaken(session: Session, chunk: Chunk) -> Chunk:
    """Return a chunk without what its trigger took before; it has taken the rest from now on."""
    if chunk.trigger_id is None:
        return chunk
    objects = {row.object for row in chunk.rows if row.object is not None}
    fresh = triggers.take(session, chunk.trigger_id, objects)
    rows = [row for row in chunk.rows if row.object is None or row.object in fresh]
    return replace(chunk, rows=rows, skipped=chunk.skipped + len(chunk.rows) - len(rows))


def _check_lines(rows: Sequence[NewJob]) -> None:
    beyond = [row.line for row in rows if row.line > MAX_LINE]
    if beyond:
        reason = f"line: {beyond[0]} is beyond {MAX_LINE}, the most of one batch; split the source"
        raise RowInvalid(reason, field="line")


def _copy_or_stage(session: Session, batch_id: UUID, rows: Sequence[NewJob]) -> int:
    """COPY straight into the table; only a chunk with a conflict takes the detour.

    Returns:
        How many rows were rejected for their destinations.
    """
    if not rows:
        return 0
    try:
        with session.begin_nested(), _cursor(session) as cursor:
            _copy(cursor, "jobs", batch_id, rows)
    except psycopg.errors.UniqueViolation:
        return _stage(session, batch_id, rows)
    return 0


@contextmanager
def _cursor(session: Session) -> Iterator[psycopg.Cursor[Any]]:
    """Open psycopg's own cursor on the session's connection: SQLAlchemy has no COPY."""
    connection = session.connection().connection.driver_connection
    assert isinstance(connection, psycopg.Connection)
    with connection.cursor() as cursor:
        yield cursor


def _copy(cursor: psycopg.Cursor[Any], table: str, batch_id: UUID, rows: Sequence[NewJob]) -> None:
    batch, stem = str(batch_id), id_stem(batch_id)
    with cursor.copy(_COPY.format(table)) as copy:
        for row in rows:
            copy.write_row(_values(batch, stem, row))


def _values(batch: str, stem: str, row: NewJob) -> tuple[Any, ...]:
    rejected = row.error is not None
    return (
        f"{stem}{row.line:08x}",
        batch,
        row.line,
        "rejected" if rejected else "waiting",
        row.pipeline,
        row.endpoint,
        row.source,
        row.source_version,
        row.source_alternative,
        row.destination,
        None if rejected or row.destination is None else destination_key(row.destination),
        row.custom_id,
        row.arguments,
        row.passthrough,
        row.seed,
        row.error,
        "now" if rejected else None,
    )


_UNSTAGE = text(f"""
with added as (
    insert into jobs ({", ".join(COLUMNS)}, ended_at)
    select {", ".join(COLUMNS)}, ended_at from staged order by line
    on conflict do nothing
    returning id
)
insert into jobs ({", ".join(COLUMNS)}, ended_at)
select id, batch_id, line, 'rejected', pipeline, endpoint, source, source_version,
    source_alternative, destination, null, custom_id, arguments, passthrough, seed,
    jsonb_build_object('code', 'row_invalid', 'kind', 'request', 'field', 'destination',
        'message', 'destination: ' || destination
            || ' is already written by an earlier row; give one of them a "destination"'),
    clock_timestamp()
from staged where id not in (select id from added)
returning 1
""")  # noqa: S608 - made of constants


def _stage(session: Session, batch_id: UUID, rows: Sequence[NewJob]) -> int:
    session.execute(
        text("create temporary table staged (like jobs including defaults) on commit drop")
    )
    with _cursor(session) as cursor:
        _copy(cursor, "staged", batch_id, rows)
    return len(session.execute(_UNSTAGE).all())


_TELL = text("""
insert into events (type, batch_id, job_id)
select 'job.rejected', batch_id, id from jobs
where id between :first and :last and state = 'rejected'
""")
_COUNT = text("""
insert into batch_deltas (batch_id, total, rejected, skipped)
values (:batch_id, :total, :rejected, :skipped)
""")


def _count(session: Session, batch_id: UUID, chunk: Chunk, doubles: int) -> None:
    lines = [row.line for row in chunk.rows]
    rejected = doubles + sum(row.error is not None for row in chunk.rows)
    if rejected:
        span = {"first": job_id(batch_id, min(lines)), "last": job_id(batch_id, max(lines))}
        session.execute(_TELL, span)
    counted = {"total": len(lines), "rejected": rejected, "skipped": chunk.skipped}
    session.execute(_COUNT, {"batch_id": batch_id, **counted})


def unreadable(session: Session, batch_id: UUID, reason: str) -> None:
    """Stop reading a batch for good; what was read before still runs."""
    session.execute(
        text(
            "with stopped as (update batches set state = 'unreadable', reason = :reason"
            " where id = :id and state = 'reading' returning id)"
            " insert into events (type, batch_id) select 'batch.unreadable', id from stopped"
        ),
        {"id": batch_id, "reason": reason},
    )
