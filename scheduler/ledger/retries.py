"""Another chance for what ended without a result: one row changes, and the jobs follow in chunks.

Like `jobs`, nothing here commits.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler.ledger import batches
from scheduler.ledger.periods import MAX_LINE, job_id
from scheduler.ledger.tables import BatchState, JobState

# A second retry before the first is through begins anew, and is about the states of both.
_REOPEN = text("""
update batches set ended_at = null, reported_at = null, reason = null, retried = 0,
    discarded = 0, discarded_at = null,
    retrying = array(select distinct unnest(
        coalesce(retrying, '{}') || cast(:states as text[]))),
    state = case when state = 'paused' then state
        when read_at is null then 'reading' else 'open' end
where id = :id
""")


def retry(session: Session, batch_id: UUID, states: Sequence[JobState]) -> int:
    """Let a batch's jobs that ended in `states` be run again, and reopen it; `go_on` does it.

    A batch that stopped before the end of its source is read on from there.

    Args:
        session: The transaction.
        batch_id: The batch.
        states: `failed`, `cancelled`, or both.

    Returns:
        How many jobs that are, as far as it is known by now.

    Raises:
        BatchUnknown: There is none.
        BatchPruned: Its rows are gone.
    """
    batch = batches.unpruned(session, batch_id)
    progress = batches.progress(session, batch_id)
    counts = {JobState.FAILED: progress.failed, JobState.CANCELLED: progress.cancelled}
    count = sum(counts[state] for state in states)
    # What is still to be cancelled goes on, too.
    is_ending = batch.state == BatchState.CANCELLED and batch.ended_at is None
    if count or batch.read_at is None or (is_ending and JobState.CANCELLED in states):
        session.execute(_REOPEN, {"id": batch_id, "states": [str(state) for state in states]})
        batches.tell(session, "batch.retried", batch_id)
        batches.wake(session)
    return count


# The batch's row is locked first: a cancellation comes before this chunk, or after it. The one that
# is least far comes first, so that a small one need not wait for a large one.
_UNFINISHED = text("""
select id, retrying, retried from batches where retrying is not null and ended_at is null
order by retried, id limit 1 for update skip locked
""")
_REQUEUE = text("""
with page as (
    select id, line, state from jobs where id > :after_id and id <= :last_id
    order by id limit :limit
), again as (
    update jobs set state = 'waiting', failures = 0, alone = false, error = null, outcome = null,
        run_after = clock_timestamp(), queued_at = null, started_at = null, ended_at = null,
        worker_id = null, cancel_requested = false, source_etag = null
    from page where jobs.id = page.id and jobs.id > :after_id and jobs.id <= :last_id
        and jobs.state = page.state and page.state = any(:states)
    returning page.state
), counted as (
    insert into batch_deltas (batch_id, failed, cancelled)
    select :batch_id, -count(*) filter (where state = 'failed'),
        -count(*) filter (where state = 'cancelled')
    from again
)
update batches set retried = coalesce((select max(line) from page), retried),
    retrying = case when (select count(*) from page) = :limit then retrying end
where id = :batch_id
""")


def go_on(session: Session, *, limit: int) -> bool:
    """Look at the next `limit` rows of a batch that is being retried; tell whether there was one.

    Those that ended in the states in question wait again, with a fresh budget of failures, and read
    their sources as they are by then.
    """
    batch = session.execute(_UNFINISHED).one_or_none()
    if batch is None:
        return False
    session.execute(
        _REQUEUE,
        {
            "batch_id": batch.id,
            "after_id": job_id(batch.id, batch.retried),
            "last_id": job_id(batch.id, MAX_LINE),
            "states": batch.retrying,
            "limit": limit,
        },
    )
    return True
