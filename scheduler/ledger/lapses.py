"""Jobs whose worker fell silent: back to `waiting`, or, with their budget used up, named.

Like `jobs`, nothing here commits.
"""

from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler.ledger.jobs import Ticket

MAX_FAILURES = "max_failures"
"""The option of a batch, or of a feed: how often its jobs may fail, in the settings' place."""

_LAPSED = """
    select jobs.id, jobs.epoch, jobs.failures from jobs
    join batches on batches.id = jobs.batch_id
    left join leases on leases.worker_id = jobs.worker_id
    where jobs.state = 'running'
        and (leases.expires_at is null or leases.expires_at < :now or jobs.deadline < :now)
        and {budget}
    order by jobs.id limit :limit
    for update of jobs skip locked
"""
_BUDGET = f"coalesce(cast(batches.options ->> '{MAX_FAILURES}' as int), :max_failures)"
_PUT_BACK = text(f"""
with lapsed as ({_LAPSED.format(budget=f"jobs.failures + 1 < {_BUDGET}")})
update jobs set state = 'waiting', worker_id = null, deadline = null, queued_at = null,
    run_after = :now, failures = jobs.failures + 1, alone = true
from lapsed where jobs.id = lapsed.id
returning jobs.id
""")  # noqa: S608 - made of constants
_EXHAUSTED = text(_LAPSED.format(budget=f"jobs.failures + 1 >= {_BUDGET}"))


def put_back(session: Session, *, now: datetime, max_failures: int, limit: int = 1000) -> set[UUID]:
    """Move jobs whose lease or deadline lapsed `running -> waiting`; each will run alone."""
    found = session.scalars(_PUT_BACK, {"now": now, "max_failures": max_failures, "limit": limit})
    return set(found)


def exhausted(
    session: Session, *, now: datetime, max_failures: int, limit: int = 1000
) -> list[Ticket]:
    """Name the lapsed jobs whose budget of failures this lapse used up; they stay locked."""
    rows = session.execute(_EXHAUSTED, {"now": now, "max_failures": max_failures, "limit": limit})
    return [Ticket(row.id, row.epoch) for row in rows]


_ORPHANED = text("""
with orphans as (
    select jobs.id from jobs left join workers on workers.id = jobs.worker_id
    where jobs.state = 'queued' and jobs.worker_id is not null
        and (workers.id is null or workers.stopped_at is not null)
    limit :limit
    for update of jobs skip locked
)
update jobs set state = 'waiting', run_after = clock_timestamp(), queued_at = null,
    worker_id = null
from orphans where jobs.id = orphans.id
returning jobs.id
""")


def unqueue_orphans(session: Session, *, limit: int = 5000) -> set[UUID]:
    """Move `queued -> waiting` what lies in the queue of a worker that takes no more of it.

    That costs no failure. Whoever has such a message in hand may still claim its job.
    """
    return set(session.scalars(_ORPHANED, {"limit": limit}))
