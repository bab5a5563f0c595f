"""What people may do to a batch on its way: one row changes, and the work follows.

Like `jobs`, nothing here commits.
"""

from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from scheduler.ledger import batches, jobs
from scheduler.ledger.jobs import Ending, Ticket
from scheduler.ledger.periods import span
from scheduler.ledger.queueing import Line, Place, read_in_order
from scheduler.ledger.tables import JobState

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
    where batches.state in ('paused', 'cancelled') and batches.ended_at is null
        and jobs.state = 'queued'
    limit :limit
    for update of jobs skip locked
)
update jobs set state = 'waiting', run_after = clock_timestamp(), queued_at = null,
    worker_id = null
from found where jobs.id = found.id
returning jobs.id
""")


def take_back(session: Session, *, limit: int) -> int:
    """Move jobs of halted batches `queued -> waiting`, so that they take no room in the windows.

    Their messages claim nothing. No more than the windows are wide.
    """
    return len(session.scalars(_TAKE_BACK, {"limit": limit}).all())


# A batch that was reopened meanwhile has nothing to cancel.
_WAITING = text("""
select id, epoch, run_after, line from jobs
where batch_id = :batch_id and id between :first_id and :last_id and pipeline = :pipeline
    and state = 'waiting' and (run_after, line) > (:run_after, :line)
    and exists (select from batches where batches.id = :batch_id and batches.state = 'cancelled')
order by run_after, line limit :limit
for update of jobs skip locked
""")


def cancel_waiting(session: Session, line: Line, *, limit: int) -> Place | None:
    """End up to `limit` of the waiting jobs in a line of a cancelled batch.

    Returns:
        The place of the last one; None where there was none.
    """
    read_in_order(session)
    found = session.execute(
        _WAITING,
        {
            "batch_id": line.batch_id,
            **span(line.batch_id),
            "pipeline": line.pipeline,
            "run_after": line.after.run_after,
            "line": line.after.line,
            "limit": limit,
        },
    ).all()
    if not found:
        return None
    endings = [Ending(ticket=Ticket(r.id, r.epoch), state=JobState.CANCELLED) for r in found]
    jobs.finish(session, endings, from_states=(JobState.WAITING,))
    return Place(found[-1].run_after, found[-1].line)
