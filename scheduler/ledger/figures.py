"""What operators watch, in a fixed number of queries whose cost does not grow with the rows."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler.ledger import delivery_records
from scheduler.ledger.delivery_records import Counts
from scheduler.ledger.fleet import EndedFigure, StageFigure

RECENTLY_S = 600.0
"""A worker that stopped is told of for so long, so that its last jobs are seen by some scrape."""

COUNTED = 10_000
"""More than so many are too many, whatever their number."""


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """Jobs that have not ended, of all active batches of an endpoint and a priority."""

    endpoint: str
    priority: int
    batches: int
    waiting: int
    queued: int
    running: int


@dataclass(frozen=True, kw_only=True)
class WorkerFigures:
    """A worker, and what became of its jobs since it started."""

    name: str
    ended: list[EndedFigure]
    stages: list[StageFigure]


@dataclass(frozen=True, kw_only=True)
class Leases:
    """Workers under a lease: who keeps it, and who did not renew it in time."""

    kept: int
    lapsed: int


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """Messages and objects of buckets that became no job, each counted up to `COUNTED`."""

    dead: int
    held: int


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All of it, at one moment."""

    backlog: list[Backlog]
    workers: list[WorkerFigures]
    leases: Leases
    deliveries: Counts
    arrivals: Arrivals


# Waiting jobs are not counted but reckoned: what the batches have less what has ended and what was
# handed out, which is no more than the windows are wide.
_BACKLOG = text("""
with handed as (
    select batch_id, state, count(*) as jobs from jobs where state = 'queued'
    group by batch_id, state
    union all
    select batch_id, state, count(*) from jobs where state = 'running' group by batch_id, state
), active as (
    select b.id, b.endpoint, b.priority,
        b.total - b.succeeded - b.failed - b.cancelled - b.rejected + coalesce(d.open, 0) as open,
        coalesce((select sum(jobs) from handed where batch_id = b.id and state = 'queued'), 0)
            as queued,
        coalesce((select sum(jobs) from handed where batch_id = b.id and state = 'running'), 0)
            as running
    from batches b cross join lateral (
        select sum(total - succeeded - failed - cancelled - rejected) as open
        from batch_deltas where batch_id = b.id
    ) d
    where b.ended_at is null
)
select endpoint, priority, count(*) as batches,
    sum(greatest(open - queued - running, 0)) as waiting, sum(queued) as queued,
    sum(running) as running
from active group by endpoint, priority
""")
_WORKERS = text("""
select name, figures from workers
where stopped_at is null or stopped_at > now() - make_interval(secs => :recently_s)
""")
_LEASES = text("""
select count(*) filter (where expires_at >= clock_timestamp()) as kept,
    count(*) filter (where expires_at < clock_timestamp()) as lapsed
from leases
""")


_ARRIVALS = text("""
select (select count(*) from (select from dead_events limit :most) as found) as dead,
    (select count(*) from (select from held_arrivals limit :most) as found) as held
""")


def snapshot(session: Session) -> Snapshot:
    """Return what operators watch: five queries."""
    backlog = session.execute(_BACKLOG)
    workers = session.execute(_WORKERS, {"recently_s": RECENTLY_S})
    leases = session.execute(_LEASES).one()
    return Snapshot(
        backlog=[
            Backlog(
                endpoint=row.endpoint,
                priority=row.priority,
                batches=row.batches,
                waiting=int(row.waiting),
                queued=int(row.queued),
                running=int(row.running),
            )
            for row in backlog
        ],
        workers=[_worker(row.name, row.figures) for row in workers],
        leases=Leases(kept=leases.kept, lapsed=leases.lapsed),
        deliveries=delivery_records.counts(session),
        arrivals=_arrivals(session),
    )


def _arrivals(session: Session) -> Arrivals:
    found = session.execute(_ARRIVALS, {"most": COUNTED}).one()
    return Arrivals(dead=found.dead, held=found.held)


def _worker(name: str, figures: dict[str, Any]) -> WorkerFigures:
    return WorkerFigures(
        name=name,
        ended=[EndedFigure(*each) for each in figures.get("ended", [])],
        stages=[StageFigure(*each) for each in figures.get("stages", [])],
    )
