"""What is kept and for how long: weeks of rows are dropped whole, the batches' own rows stay.

Like `jobs`, nothing here commits.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from scheduler.ledger import periods, requests
from scheduler.ledger.tables import Batch


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What one week lost: its jobs with their events, or the events alone."""

    period: int
    jobs: bool


# Locks the week's batches, so that none is reopened meanwhile; a batch counts as in use until its
# report is written, and as long as a subscriber is still to hear of it.
_LOCK = text("""
select id from batches where id >= :low and id < :high order by id for update
""")
_IN_USE = text("""
select exists (
    select from batches where id >= :low and id < :high
        and (ended_at is null or reported_at is null or ended_at > :before
            or :discards and discarded_at is null)
) or exists (
    select from outbox where batch_id >= :low and batch_id < :high
) or exists (
    select from deliveries where batch_id >= :low and batch_id < :high
        and state in ('due', 'sending') and due_at < 'infinity'
)
""")
_UNSUBSCRIBE = text("""
delete from subscriptions where coalesce(job_id, batch_id) >= :low
    and coalesce(job_id, batch_id) < :high
""")
_MARK = text("""
update batches set pruned_at = :now where id >= :low and id < :high and pruned_at is null
""")


def prune(
    session: Session,
    period: int,
    *,
    now: datetime,
    keep_jobs: timedelta | None,
    keep_events: timedelta | None,
    discards: bool = False,
) -> Pruned | None:
    """Drop what is too old of one week, all or nothing: while a batch of it is in use, it stays.

    Args:
        session: The transaction; waits at most two seconds for whoever reads the week's rows.
        period: The week.
        now: The database's time.
        keep_jobs: How long rows stay after their batch has ended; None for ever.
        keep_events: Likewise for events.
        discards: Results are deleted by age, and rows stay until theirs are: they name them.

    Returns:
        What was dropped, if anything was.

    Raises:
        LedgerUnavailable: Somebody is reading; nothing happened.
    """
    session.execute(text("set local lock_timeout = '2s'"))
    low, high = periods.bounds(period)
    session.execute(_LOCK, {"low": low, "high": high})
    if _over(session, period, now=now, keep=keep_jobs, discards=discards):
        session.execute(_MARK, {"low": low, "high": high, "now": now})
        session.execute(_UNSUBSCRIBE, {"low": low, "high": high})
        requests.forget(session, low, high)
        session.execute(
            text(f"drop table jobs_{period}, events_{period}, deliveries_{period}"),
        )
        return Pruned(period=period, jobs=True)
    if _over(session, period, now=now, keep=keep_events) and _any_events(session, period):
        session.execute(text(f"truncate events_{period}, deliveries_{period}"))
        return Pruned(period=period, jobs=False)
    return None


def _over(
    session: Session,
    period: int,
    *,
    now: datetime,
    keep: timedelta | None,
    discards: bool = False,
) -> bool:
    """Tell whether a week is past, and all its batches have ended longer ago than `keep`."""
    if keep is None or periods.start(period + 1) > now - keep:
        return False
    low, high = periods.bounds(period)
    bounds = {"low": low, "high": high, "before": now - keep}
    return not session.scalar(_IN_USE, bounds | {"discards": discards})


def _any_events(session: Session, period: int) -> bool:
    return bool(session.scalar(text(f"select exists (table events_{period})")))


def discardable(session: Session, *, before: datetime) -> Batch | None:
    """Return a batch that ended before a moment and may still have results in the store."""
    return session.scalars(
        select(Batch)
        .where(
            Batch.ended_at < before,
            Batch.reported_at.is_not(None),
            Batch.discarded_at.is_(None),
            Batch.pruned_at.is_(None),
        )
        .order_by(Batch.id)
        .limit(1)
    ).one_or_none()


_DISCARDED = text("""
update batches set discarded = :line,
    discarded_at = case when :last then clock_timestamp() end
where id = :id and ended_at = :ended_at
""")


def discarded(session: Session, batch: Batch, line: int, *, last: bool) -> None:
    """Note that a batch's results up to a line are gone, unless it was reopened since."""
    parameters = {"id": batch.id, "ended_at": batch.ended_at, "line": line, "last": last}
    session.execute(_DISCARDED, parameters)
