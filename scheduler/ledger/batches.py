"""The transitions of batches, and their progress in constant time.

Like `jobs`, nothing here commits.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from scheduler.errors import BatchPruned, BatchUnknown
from scheduler.ledger import periods
from scheduler.ledger.tables import Batch, BatchState


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A batch's exact counters at one moment.

    `total` counts every row that was read so far, the rejected ones included; `skipped` counts what
    a listing left out (folder markers, other file types) and is no part of `total`. Of `succeeded`,
    `existing` had their result before and `reused` got a copy of an earlier one.
    """

    id: UUID
    state: BatchState
    source: str
    destination: str
    endpoint: str
    reason: str | None
    created_at: datetime
    read_at: datetime | None
    ended_at: datetime | None
    reported_at: datetime | None
    total: int
    succeeded: int
    failed: int
    cancelled: int
    rejected: int
    skipped: int
    existing: int
    reused: int
    bytes_out: int
    device_s: float

    @property
    def ended(self) -> int:
        """How many rows have their outcome."""
        return self.succeeded + self.failed + self.cancelled + self.rejected


_SUBMIT = text("""
insert into batches (id, owner, state, priority, source, source_version, destination, endpoint,
    arguments, options, fingerprint)
values (:id, :owner, 'reading', :priority, :source, :source_version, :destination, :endpoint,
    cast(:arguments as jsonb), cast(:options as jsonb), :fingerprint)
on conflict (fingerprint) do nothing
returning id
""")


@dataclass(frozen=True, kw_only=True)
class Submission:
    """What `submit` writes; `arguments` and `options` are JSON texts."""

    id: UUID
    owner: str
    priority: int
    source: str
    source_version: str
    destination: str
    endpoint: str
    arguments: str
    options: str
    fingerprint: str


def submit(session: Session, submission: Submission, *, again: bool) -> tuple[UUID, bool]:
    """Insert a batch in state `reading`, unless the same submission is there already.

    Returns:
        The batch's id, and whether it is new.
    """
    if again:
        session.execute(
            update(Batch)
            .where(Batch.fingerprint == submission.fingerprint)
            .values(fingerprint=None)
        )
    periods.ensure(session, periods.period_of(submission.id))
    made = session.scalar(_SUBMIT, vars(submission))
    if made is not None:
        tell(session, "batch.submitted", submission.id)
        wake(session)
        return submission.id, True
    found = session.scalars(
        select(Batch.id).where(Batch.fingerprint == submission.fingerprint)
    ).one()
    return found, False


def tell(session: Session, event: str, batch_id: UUID) -> None:
    """Write one event about a batch."""
    session.execute(
        text("insert into events (type, batch_id) values (:type, :batch_id)"),
        {"type": event, "batch_id": batch_id},
    )


CHANNEL = "enlarger"


def wake(session: Session) -> None:
    """Tell the schedulers at commit that there is something new; a hint, they also poll."""
    session.execute(text(f"notify {CHANNEL}"))


HURRY = "hurry"


def hurry(session: Session) -> None:
    """Wake the schedulers at commit, and let them hurry the workers: what runs is not wanted."""
    session.execute(text(f"notify {CHANNEL}, '{HURRY}'"))


def get(session: Session, batch_id: UUID) -> Batch:
    """Return a batch's row.

    Raises:
        BatchUnknown: There is none.
    """
    found = session.get(Batch, batch_id)
    if found is None:
        raise unknown(str(batch_id))
    return found


def unpruned(session: Session, batch_id: UUID) -> Batch:
    """Return the row of a batch whose jobs are still there.

    Raises:
        BatchUnknown: There is none.
        BatchPruned: Only the batch's own row is left.
    """
    batch = get(session, batch_id)
    if batch.pruned_at is not None:
        reason = (
            f"batch: the rows of {batch_id} were dropped on {batch.pruned_at:%Y-%m-%d} for their"
            " age (ENLARGER_KEEP_JOBS_S); submit the source with --again to do it anew"
        )
        raise BatchPruned(reason, field="batch")
    return batch


def unknown(batch: str) -> BatchUnknown:
    """Return the error for an id that names no batch."""
    return BatchUnknown(
        f"batch: {batch!r} is unknown; `enlarger status` lists the batches", field="batch"
    )


SHORTEST = 6
_OWNED = "(cast(:owner as text) is null or owner = :owner)"
_FIND = text(f"""
select id from batches
where {_OWNED} and (replace(id::text, '-', '') like :piece || '%'
    or replace(id::text, '-', '') like '%' || :piece)
order by id limit 2
""")  # noqa: S608 - made of constants


def find(session: Session, piece: str, *, owner: str | None = None) -> UUID:
    """Return the only batch whose id is, ends in or begins with `piece`; of one owner's, or of all.

    Ids begin with the time, so those of one hour begin alike; their ends are random.

    Raises:
        BatchUnknown: There is none or more than one, or `piece` is too short to tell.
    """
    digits = piece.strip().lower().replace("-", "")
    if re.fullmatch(r"[0-9a-f]+", digits) is None:
        raise unknown(piece)
    if len(digits) < SHORTEST:
        reason = f"batch: {piece!r} is too short; give the last {SHORTEST} characters of its id"
        raise BatchUnknown(reason, field="batch")
    found: list[UUID] = list(session.scalars(_FIND, {"piece": digits, "owner": owner}))
    if len(found) > 1:
        reason = f"batch: {piece!r} fits several ids; give more of it, from the end of the id"
        raise BatchUnknown(reason, field="batch")
    if not found:
        raise unknown(piece)
    return found[0]


_COUNTERS = (
    "total",
    "succeeded",
    "failed",
    "cancelled",
    "rejected",
    "skipped",
    "existing",
    "reused",
    "bytes_out",
    "device_s",
)
_PROGRESS = f"""
select b.id, b.state, b.source, b.destination, b.endpoint, b.reason, b.created_at, b.read_at,
    b.ended_at, b.reported_at, {", ".join(f"b.{c} + d.{c} as {c}" for c in _COUNTERS)}
from batches b cross join lateral (
    select {", ".join(f"coalesce(sum({c}), 0) as {c}" for c in _COUNTERS)}
    from batch_deltas where batch_id = b.id
) d
"""  # noqa: S608 - made of constants
_ONE = text(_PROGRESS + "where b.id = :id")
_SEVERAL = text(_PROGRESS + "where b.id = any(cast(:ids as uuid[]))")
_LATEST = text(_PROGRESS + f"where {_OWNED} order by b.id desc limit :limit")


def progress(session: Session, batch_id: UUID) -> Progress:
    """Return a batch's counters; its cost does not grow with the batch.

    Raises:
        BatchUnknown: There is none.
    """
    row = session.execute(_ONE, {"id": batch_id}).one_or_none()
    if row is None:
        raise unknown(str(batch_id))
    return _progress(row._mapping)


def progress_of(session: Session, ids: Sequence[UUID]) -> list[Progress]:
    """Return the counters of several batches, in no order; those that are unknown are left out."""
    return [_progress(row._mapping) for row in session.execute(_SEVERAL, {"ids": list(ids)})]


def latest(session: Session, *, limit: int, owner: str | None = None) -> list[Progress]:
    """Return the newest batches, newest first; of one owner's, or of all."""
    found = session.execute(_LATEST, {"limit": limit, "owner": owner})
    return [_progress(row._mapping) for row in found]


def _progress(row: Any) -> Progress:  # noqa: ANN401 - a SQLAlchemy row mapping
    counted = {name: int(row[name]) for name in _COUNTERS if name != "device_s"}
    rest = {name: value for name, value in row.items() if name not in counted}
    return Progress(**{**rest, **counted, "state": BatchState(row["state"])})


_ENDED = "{0}.succeeded + {0}.failed + {0}.cancelled + {0}.rejected"
_FOLD = text(f"""
with sums as (
    select batch_id, count(*) as deltas, {", ".join(f"sum({c}) as {c}" for c in _COUNTERS)}
    from batch_deltas group by batch_id
), worth as (
    select sums.batch_id from sums join batches on batches.id = sums.batch_id
    where sums.deltas >= :deltas
        or abs({_ENDED.format("sums")}) * :fraction >= {_ENDED.format("batches")}
        or {_ENDED.format("sums")} + {_ENDED.format("batches")} = sums.total + batches.total
), gone as (
    delete from batch_deltas using worth where batch_deltas.batch_id = worth.batch_id
    returning batch_deltas.*
), moved as (
    select batch_id, {", ".join(f"sum({c}) as {c}" for c in _COUNTERS)} from gone group by batch_id
)
update batches set {", ".join(f"{c} = batches.{c} + moved.{c}" for c in _COUNTERS)}
from moved where batches.id = moved.batch_id
""")  # noqa: S608 - made of constants
FOLD_DELTAS = 200
FOLD_FRACTION = 16


def fold(session: Session) -> None:
    """Move deltas into the batches' own counters, where they are worth a new version of the row.

    That is where they complete the batch, are a sixteenth of what has ended, or many. Each version
    outlives its use for as long as somebody holds a snapshot, and each dispatch reads past it.
    """
    session.execute(_FOLD, {"deltas": FOLD_DELTAS, "fraction": FOLD_FRACTION})


_READ = """fed_until is null and retrying is null and (
        state in ('open', 'cancelled', 'unreadable') or state = 'paused' and read_at is not null
    )"""
# Locked by a statement of its own: the next one then sees what a retry, which locks the same row,
# has committed meanwhile.
_COMPLETE = text(f"""
select id from batches
where ended_at is null and {_READ}
    and succeeded + failed + cancelled + rejected = total
for update skip locked
""")  # noqa: S608 - made of constants
_END = text(f"""
with done as (
    update batches set ended_at = clock_timestamp(),
        state = case when state in ('open', 'paused') then 'finished' else state end,
        reported_at = case when feed is not null then clock_timestamp() end
    where id = any(:ids) and ended_at is null and {_READ}
        and succeeded + failed + cancelled + rejected = total
        and not exists (select 1 from batch_deltas where batch_deltas.batch_id = batches.id)
    returning id, state
), told as (
    insert into events (type, batch_id)
    select 'batch.finished', id from done
)
select id from done
""")  # noqa: S608 - made of constants


def end_complete(session: Session) -> list[UUID]:
    """End the batches whose jobs all have their outcome, each exactly once.

    A feed's batch takes jobs until it is closed, and nobody wants a report of its day.
    """
    complete = list(session.scalars(_COMPLETE))
    return list(session.scalars(_END, {"ids": complete})) if complete else []


def active(session: Session) -> list[Batch]:
    """Return the batches that have not ended, oldest first."""
    return list(session.scalars(select(Batch).where(Batch.ended_at.is_(None)).order_by(Batch.id)))


def unreported(session: Session) -> list[Batch]:
    """Return the ended batches that have no report yet, oldest first."""
    return list(
        session.scalars(
            select(Batch)
            .where(Batch.ended_at.is_not(None), Batch.reported_at.is_(None))
            .order_by(Batch.id)
        )
    )


def reported(session: Session, batch: Batch) -> None:
    """Note that a batch's report is stored, unless it was reopened since `batch` was read."""
    session.execute(
        text(
            "update batches set reported_at = clock_timestamp()"
            " where id = :id and ended_at = :ended_at"
        ),
        {"id": batch.id, "ended_at": batch.ended_at},
    )
    tell(session, "batch.reported", batch.id)


def unreportable(session: Session, batch: Batch, reason: str) -> None:
    """Note why a batch has no report, unless it was reopened; `enlarger results` still has all."""
    session.execute(
        text(
            "update batches set reported_at = clock_timestamp(), reason = :reason"
            " where id = :id and ended_at = :ended_at"
        ),
        {"id": batch.id, "ended_at": batch.ended_at, "reason": reason},
    )


def cancel(session: Session, batch_id: UUID, *, reason: str | None = None) -> bool:
    """Let nothing of a batch start any more; the scheduler ends what waits, workers what runs.

    Args:
        session: The transaction.
        batch_id: Which one.
        reason: Why, where nobody asked for it.

    Returns:
        Whether there was anything left to cancel.

    Raises:
        BatchUnknown: There is none.
    """
    get(session, batch_id)
    changed = session.scalar(
        text(
            "update batches set state = 'cancelled', retrying = null, reason = :reason"
            " where id = :id and ended_at is null and state <> 'cancelled' returning id"
        ),
        {"id": batch_id, "reason": reason},
    )
    if changed is not None:
        tell(session, "batch.cancelled", batch_id)
        hurry(session)
    return changed is not None
