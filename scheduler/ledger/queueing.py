"""What is `queued`: from `waiting` into the windows before the workers, and back again.

Like `jobs`, nothing here commits.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler.ledger.jobs import Ticket
from scheduler.ledger.periods import span
from scheduler.ledger.tables import JobState

_TAKE = text("""
with chosen as (
    select id from jobs
    where batch_id = :batch_id and id between :first_id and :last_id
        and pipeline = :pipeline and state = 'waiting' and run_after <= :now
    order by run_after, line limit :limit
    for update skip locked
)
update jobs set state = 'queued', queued_at = :now, worker_id = :worker_id
from chosen where jobs.id = chosen.id
returning jobs.id, jobs.epoch, jobs.alone, jobs.line
""")


class Queued(NamedTuple):
    """A job that just became `queued` and needs its message."""

    ticket: Ticket
    alone: bool


def take(
    session: Session,
    batch_id: UUID,
    pipeline: str,
    *,
    limit: int,
    now: datetime,
    worker_id: UUID | None = None,
) -> list[Queued]:
    """Move up to `limit` due jobs of a batch `waiting -> queued`, oldest first.

    Args:
        session: The transaction.
        batch_id: Of this batch.
        pipeline: Of this pipeline.
        limit: At most so many.
        now: The database's time.
        worker_id: The worker whose queue they go to; any worker may claim them all the same.
    """
    rows = session.execute(
        _TAKE,
        {
            "batch_id": batch_id,
            **span(batch_id),
            "pipeline": pipeline,
            "limit": limit,
            "now": now,
            "worker_id": worker_id,
        },
    )
    ordered = sorted(rows, key=lambda row: row.line)
    return [Queued(Ticket(row.id, row.epoch), row.alone) for row in ordered]


_UNQUEUE = text("""
with given as (
    select * from unnest(cast(:ids as uuid[]), cast(:epochs as int[])) as g(id, epoch)
), found as (
    select jobs.id from jobs join given on jobs.id = given.id and jobs.epoch = given.epoch
    where jobs.state = 'queued'
        and (cast(:before as timestamptz) is null or jobs.queued_at < :before)
    for update of jobs skip locked
)
update jobs set state = 'waiting', queued_at = null, worker_id = null
from found where jobs.id = found.id
returning jobs.id
""")


def unqueue(
    session: Session, tickets: Sequence[Ticket], *, before: datetime | None = None
) -> set[UUID]:
    """Move `queued -> waiting`: the message is lost or was handed back unopened. Costs no failure.

    Args:
        session: The transaction.
        tickets: The jobs, at the epoch that the lost message carried.
        before: Spare the jobs that were queued at or after this moment.
    """
    moved = session.scalars(
        _UNQUEUE,
        {
            "ids": [ticket.job_id for ticket in tickets],
            "epochs": [ticket.epoch for ticket in tickets],
            "before": before,
        },
    )
    return set(moved)


_ALL_QUEUED = text("""
select id, epoch, pipeline, worker_id, queued_at from jobs where state = 'queued'
""")


class Listed(NamedTuple):
    """Where a queued job's message should be, and since when."""

    pipeline: str
    worker_id: UUID | None
    queued_at: datetime


def queued(session: Session) -> dict[Ticket, Listed]:
    """Return all queued jobs; no more than the windows are wide."""
    rows = session.execute(_ALL_QUEUED)
    return {
        Ticket(row.id, row.epoch): Listed(row.pipeline, row.worker_id, row.queued_at)
        for row in rows
    }


_QUEUED = text("""
select id, epoch from jobs
where pipeline = :pipeline and state = 'queued' and not alone and failures = 0
order by queued_at limit :limit
for update skip locked
""")


def more_queued(session: Session, pipeline: str, *, limit: int) -> list[Ticket]:
    """Name queued jobs of a pipeline, for a worker whose bundle came back short.

    Their messages become stale and are discarded when they arrive. The rows stay locked until the
    transaction ends, so claim them in the same one.
    """
    rows = session.execute(_QUEUED, {"pipeline": pipeline, "limit": limit})
    return [Ticket(*row) for row in rows]


_LOADS = text("""
select state, worker_id, pipeline, batch_id, count(*) as jobs from jobs where state = 'queued'
group by state, worker_id, pipeline, batch_id
union all
select state, worker_id, pipeline, batch_id, count(*) from jobs where state = 'running'
group by state, worker_id, pipeline, batch_id
""")


class Load(NamedTuple):
    """How many jobs of a batch a worker's queue, or a pipeline's, or a worker holds."""

    state: JobState
    worker_id: UUID | None
    pipeline: str
    batch_id: UUID
    jobs: int


def loads(session: Session) -> list[Load]:
    """Count what was handed out and has not ended; no more than the windows are wide."""
    return [
        Load(JobState(row.state), row.worker_id, row.pipeline, row.batch_id, row.jobs)
        for row in session.execute(_LOADS)
    ]
