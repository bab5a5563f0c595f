"""What is `queued`: from `waiting` into the windows before the workers, and back again.

Like `jobs`, nothing here commits.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler.ledger.jobs import Ticket
from scheduler.ledger.periods import span
from scheduler.ledger.tables import JobState


class Place(NamedTuple):
    """Where a job stands in the line of its batch and pipeline: by the time from which it may run.

    Whatever comes back to `waiting` goes to the end: so who keeps the place up to which everything
    was taken need not look before it. Before it lie the entries of all jobs that were taken, which
    no vacuum can remove for as long as any snapshot is older than they are.
    """

    run_after: datetime
    line: int


START = Place(datetime(1970, 1, 1, tzinfo=UTC), 0)
"""Before everybody."""


class Line(NamedTuple):
    """The waiting jobs of a batch that need a pipeline, those behind a place."""

    batch_id: UUID
    pipeline: str
    after: Place = START


_IN_ORDER = text("""
select set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true)
""")


def read_in_order(session: Session) -> None:
    """Have lines read in the order of their index, until the transaction ends.

    The planner takes a batch and the range of its ids for independent, so it expects next to
    nobody in a line; and it would gather the ids of the whole batch, and sort, to find the first.
    """
    session.execute(_IN_ORDER)


# One probe of the index a line. The ids tell the planner which partition that is.
_DUE = text("""
select asked.place, found.run_after, found.line
from unnest(cast(:batch_ids as uuid[]), cast(:first_ids as uuid[]), cast(:last_ids as uuid[]),
    cast(:pipelines as text[]), cast(:run_afters as timestamptz[]), cast(:lines as bigint[]))
    with ordinality
    as asked(batch_id, first_id, last_id, pipeline, run_after, line, place)
cross join lateral (
    select jobs.run_after, jobs.line from jobs
    where jobs.batch_id = asked.batch_id and jobs.id between asked.first_id and asked.last_id
        and jobs.pipeline = asked.pipeline and jobs.state = 'waiting'
        and (jobs.run_after, jobs.line) > (asked.run_after, asked.line) and jobs.run_after <= :now
    order by jobs.run_after, jobs.line limit 1
) found
""")


def due(session: Session, lines: Sequence[Line], *, now: datetime) -> list[Line]:
    """Return the lines in which somebody may run by now, from right before the first of those.

    It is one statement, however many lines there are.
    """
    read_in_order(session)
    spans = [span(line.batch_id) for line in lines]
    rows = session.execute(
        _DUE,
        {
            "batch_ids": [line.batch_id for line in lines],
            "first_ids": [each["first_id"] for each in spans],
            "last_ids": [each["last_id"] for each in spans],
            "pipelines": [line.pipeline for line in lines],
            "run_afters": [line.after.run_after for line in lines],
            "lines": [line.after.line for line in lines],
            "now": now,
        },
    )
    return [lines[row.place - 1]._replace(after=Place(row.run_after, row.line - 1)) for row in rows]


_TAKE = text("""
with chosen as (
    select id, run_after from jobs
    where batch_id = :batch_id and id between :first_id and :last_id
        and pipeline = :pipeline and state = 'waiting'
        and (run_after, line) > (:run_after, :line) and run_after <= :now
    order by run_after, line limit :limit
    for update skip locked
)
update jobs set state = 'queued', queued_at = :now, worker_id = :worker_id
from chosen where jobs.id = chosen.id
returning jobs.id, jobs.epoch, jobs.alone, jobs.line, chosen.run_after
""")


class Queued(NamedTuple):
    """A job that just became `queued` and needs its message, and where it stood before."""

    ticket: Ticket
    alone: bool
    place: Place


def take(
    session: Session,
    line: Line,
    *,
    limit: int,
    now: datetime,
    worker_id: UUID | None = None,
) -> list[Queued]:
    """Move up to `limit` due jobs of a line `waiting -> queued`, and return them in its order.

    Args:
        session: The transaction.
        line: Whose jobs, and behind which place to look for them.
        limit: At most so many.
        now: The database's time.
        worker_id: The worker whose queue they go to; any worker may claim them all the same.
    """
    read_in_order(session)
    rows = session.execute(
        _TAKE,
        {
            "batch_id": line.batch_id,
            **span(line.batch_id),
            "pipeline": line.pipeline,
            "run_after": line.after.run_after,
            "line": line.after.line,
            "limit": limit,
            "now": now,
            "worker_id": worker_id,
        },
    )
    taken = [
        Queued(Ticket(row.id, row.epoch), row.alone, Place(row.run_after, row.line)) for row in rows
    ]
    return sorted(taken, key=lambda each: each.place)


_UNQUEUE = text("""
with given as (
    select * from unnest(cast(:ids as uuid[]), cast(:epochs as int[])) as g(id, epoch)
), found as (
    select jobs.id from jobs join given on jobs.id = given.id and jobs.epoch = given.epoch
    where jobs.state || '' = 'queued'
        and (cast(:before as timestamptz) is null or jobs.queued_at < :before)
    for update of jobs skip locked
)
update jobs set state = 'waiting', run_after = clock_timestamp(), queued_at = null, worker_id = null
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


# The newest first: at the other end lie the entries of all that was queued once.
_QUEUED = text("""
select id, epoch from jobs
where pipeline = :pipeline and state = 'queued' and not alone and failures = 0
    and queued_at > clock_timestamp() - interval '1 minute'
order by queued_at desc limit :limit
for update skip locked
""")


def more_queued(session: Session, pipeline: str, *, limit: int) -> list[Ticket]:
    """Name jobs of a pipeline that were queued lately, for a worker whose bundle came back short.

    Their messages become stale and are discarded when they arrive. The rows stay locked until the
    transaction ends, so claim them in the same one.
    """
    rows = session.execute(_QUEUED, {"pipeline": pipeline, "limit": limit})
    return [Ticket(*row) for row in rows]


_HANDED = "id, state, worker_id, pipeline, batch_id"
_ALL_HANDED = text(f"""
select {_HANDED} from jobs where state = 'queued'
union all
select {_HANDED} from jobs where state = 'running'
""")  # noqa: S608 - made of constants
# By the primary key, as in `jobs.claim`: the entries of the small indexes outlive what they name.
_STILL_HANDED = text(f"""
select found.* from unnest(cast(:ids as uuid[])) as asked(id)
cross join lateral (
    select {_HANDED} from jobs
    where jobs.id = asked.id and jobs.state || '' in ('queued', 'running')
) found
""")  # noqa: S608 - made of constants


class Handed(NamedTuple):
    """A job that is `queued` or `running`: whose it is, where it lies or who runs it."""

    id: UUID
    state: JobState
    worker_id: UUID | None
    pipeline: str
    batch_id: UUID


def handed_out(session: Session, known: Sequence[UUID] | None = None) -> list[Handed]:
    """Return what was handed out and has not ended; no more than the windows are wide.

    Args:
        session: The transaction.
        known: Look only at these jobs, which takes the same time however many have passed
            through; None for all.
    """
    if known is None:
        rows = session.execute(_ALL_HANDED)
    else:
        rows = session.execute(_STILL_HANDED, {"ids": known})
    return [Handed(row.id, JobState(row.state), *row[2:]) for row in rows]
