"""What people may do to a batch on its way: one row changes, and the work follows.

Like `jobs`, nothing here commits.
"""

from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from scheduler.ledger import batches

_PAUSE = text("""
update batches set state = 'paused'
where id = :id and ended_at is null and state in ('reading', 'open') returning id
""")
_RESUME = text("""
update batches set state = case when read_at is null then 'reading' else 'open' end
where id = :id and ended_at is null and state = 'paused' returning id
""")
_PRIORITIZE = text("""
update batches set priority = :priority where id = :id and ended_at is null returning id
""")


def pause(session: Session, batch_id: UUID) -> bool:
    """Let no job of a batch start, and read no more of its source, until `resume`.

    What runs is finished. What is queued can't be claimed from now on; `take_back` follows.

    Returns:
        Whether it went on until now.

    Raises:
        BatchUnknown: There is none.
    """
    return _switch(session, batch_id, _PAUSE, "batch.paused")


def resume(session: Session, batch_id: UUID) -> bool:
    """Let a paused batch go on where it stood; tell whether it was paused.

    Raises:
        BatchUnknown: There is none.
    """
    return _switch(session, batch_id, _RESUME, "batch.resumed")


def _switch(session: Session, batch_id: UUID, statement: TextClause, event: str) -> bool:
    """Change a batch's state and tell of it; tell also whether there was anything to change."""
    batches.get(session, batch_id)
    changed = session.scalar(statement, {"id": batch_id}) is not None
    if changed:
        batches.tell(session, event, batch_id)
        batches.wake(session)
    return changed


def prioritize(session: Session, batch_id: UUID, priority: int) -> bool:
    """Serve a batch before those of lower priority from now on; tell whether it has not ended.

    What is queued already, at most a window, keeps its place.

    Raises:
        BatchUnknown: There is none.
    """
    batches.get(session, batch_id)
    changed = session.scalar(_PRIORITIZE, {"id": batch_id, "priority": priority}) is not None
    if changed:
        batches.wake(session)
    return changed


_TAKE_BACK = text("""
with found as (
    select jobs.id from batches join jobs
        on jobs.batch_id = batches.id and jobs.pipeline = any(batches.pipelines)
    where batches.state = 'paused' and batches.ended_at is null and jobs.state = 'queued'
    limit :limit
    for update of jobs skip locked
)
update jobs set state = 'waiting', run_after = clock_timestamp(), queued_at = null,
    worker_id = null
from found where jobs.id = found.id
returning jobs.id
""")


def take_back(session: Session, *, limit: int) -> int:
    """Move jobs of paused batches `queued -> waiting`, so that they take no room in the windows.

    Their messages claim nothing. No more than the windows are wide.
    """
    return len(session.scalars(_TAKE_BACK, {"limit": limit}).all())
