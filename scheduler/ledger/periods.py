"""Weeks: which partition a batch's rows lie in, by the time in the batch's id.

Retention must drop partitions, not delete rows; but a unique constraint holds only within one
partition. So all rows of a batch lie in one: the ids of its jobs begin with the batch's own, and
`jobs` is partitioned by ranges of `id`, `events` and `deliveries` by the same ranges of `batch_id`.
A lookup by id then needs no other column to find its partition.
"""

import re
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

WEEK_MS = 7 * 24 * 3600 * 1000
LINE_BITS = 32
MAX_LINE = 2**LINE_BITS - 1
_TIME_SHIFT = 80
"""A UUIDv7 (RFC 9562, section 5.7) begins with 48 bits of milliseconds since 1970."""
_LOCK = 0x656E6C63  # the advisory lock of those who create partitions; any constant serves
JOBS_STORAGE = (
    "fillfactor = 85, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0"
)


def job_id(batch_id: UUID, line: int) -> UUID:
    """Return the id of a batch's job: the batch's, with the line as its last 32 bits.

    Those bits of a batch's id are random, the counter that tells ids of one millisecond apart lies
    before them. A batch and line so have one id only, and the order of ids is that of the lines.
    """
    return UUID(int=batch_id.int >> LINE_BITS << LINE_BITS | line)


def id_stem(batch_id: UUID) -> str:
    """Return what the hexadecimal ids of a batch's jobs begin with; the line's 8 digits follow."""
    return batch_id.hex[: -LINE_BITS // 4]


def span(batch_id: UUID) -> dict[str, UUID]:
    """Return the least and the greatest id of a batch's jobs, as parameters of a statement."""
    return {"first_id": job_id(batch_id, 0), "last_id": job_id(batch_id, MAX_LINE)}


def period_of(batch_id: UUID) -> int:
    """Return the week of a batch's id, counted since 1970."""
    return (batch_id.int >> _TIME_SHIFT) // WEEK_MS


def at(moment: datetime) -> int:
    """Return the week of a moment."""
    return int(moment.timestamp() * 1000) // WEEK_MS


def start(period: int) -> datetime:
    """Return the moment in which a week begins."""
    return datetime.fromtimestamp(period * WEEK_MS / 1000, tz=UTC)


def bounds(period: int) -> tuple[UUID, UUID]:
    """Return the least id of a week, and that of the next."""
    low, high = (UUID(int=each * WEEK_MS << _TIME_SHIFT) for each in (period, period + 1))
    return low, high


_EXISTS = text("select to_regclass(:name) is not null")
_EXISTING = text("""
select cast(substr(inhrelid::regclass::text, 6) as int) from pg_inherits
where inhparent = 'jobs'::regclass order by 1
""")


def existing(session: Session) -> list[int]:
    """Return the weeks that have partitions."""
    return list(session.scalars(_EXISTING))


def ensure(session: Session, period: int) -> None:
    """Create a week's partitions unless they are there.

    They are made apart and then attached, which reads and writes of the others don't notice.
    """
    if session.scalar(_EXISTS, {"name": f"jobs_{period}"}):
        return
    session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    if session.scalar(_EXISTS, {"name": f"jobs_{period}"}):
        return
    for statement in _creation(period):
        session.execute(text(statement))


def _creation(period: int) -> list[str]:
    low, high = bounds(period)
    like = "including defaults including constraints"
    made = [
        f"create table jobs_{period} (like jobs {like}) with ({JOBS_STORAGE})",
        # Two rows of a batch never write the same object; null for rejected rows. Here and not in
        # the parent, where a unique index must hold the partition's key.
        f"create unique index uq_jobs_{period} on jobs_{period} (batch_id, destination_key)",
        f"create table events_{period} (like events {like})",
        f"create table deliveries_{period} (like deliveries {like})",
    ]
    return made + [
        f"alter table {table} attach partition {table}_{period}"
        f" for values from ('{low}') to ('{high}')"
        for table in ("jobs", "events", "deliveries")
    ]


def is_partition(name: str | None) -> bool:
    """Tell whether a table is one week's, which no model describes."""
    return name is not None and re.fullmatch(r"(jobs|events|deliveries)_\d+", name) is not None
