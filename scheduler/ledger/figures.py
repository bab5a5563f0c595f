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
    """Jobs that have not ended, of all active batches of an endpoint and a priority.

    `paused` are those that would wait, were their batch not paused.
    """

    endpoint: str
    priority: int
    batches: int
    waiting: int
    paused: int
    queued: int
    running: int


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Living workers that can serve an endpoint on a kind of device."""

    endpoint: str
    device: str
    busy: int
    idle: int


@dataclass(frozen=True, kw_only=True)
class WorkerFigures:
    """A worker, and what became of its jobs since it started."""

    name: str
    ended: list[EndedFigure]
    stages: list[StageFigure]


@dataclass(frozen=True, kw_only=True)
class Leases:
    """Workers under a lease: who keeps it, and who did not renew it in time.

    `lost` are those whose lease was ended for it within the hour.
    """

    kept: int
    lapsed: int
    lost: int


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """Messages and objects of buckets that became no job, each counted up to `COUNTED`."""

    dead: int
    held: int


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """All of it, at one moment."""

    backlog: list[Backlog]
    fleet: list[Fleet]
    workers: list[WorkerFigures]
    leases: Leases
    deliveries: Counts
    arrivals: Arrivals


_BACKLOG = text("select endpoint, priority, batches, waiting, paused, queued, running from backlog")
_WORKERS = text("""
select name, figures from workers
where stopped_at is null or stopped_at > now() - make_interval(secs => :recently_s)
""")
_LEASES = text("""
select count(*) filter (where expires_at >= clock_timestamp()) as kept,
    count(*) filter (where expires_at < clock_timestamp()) as lapsed,
    (select count(*) from workers where lapsed and stopped_at > now() - interval '1 hour') as lost
from leases
""")
_FLEET = text("""
with living as (
    select id, ready, split_part(split_part(device, ' ', 1), ':', 1) as device,
        exists (select from jobs where worker_id = workers.id and state = 'running') as busy
    from workers where stopped_at is null
)
select endpoint, device, count(*) filter (where busy) as busy,
    count(*) filter (where not busy) as idle
from living cross join lateral (
    select distinct split_part(pipeline, '#', 1) as endpoint
    from jsonb_object_keys(ready) as pipeline
) served
group by endpoint, device
""")


_ARRIVALS = text("""
select (select count(*) from (select from dead_events limit :most) as found) as dead,
    (select count(*) from (select from held_arrivals limit :most) as found) as held
""")


def snapshot(session: Session) -> Snapshot:
    """Return what operators watch: six queries."""
    backlog = session.execute(_BACKLOG).mappings()
    workers = session.execute(_WORKERS, {"recently_s": RECENTLY_S})
    leases = session.execute(_LEASES).one()
    return Snapshot(
        backlog=[Backlog(**row) for row in backlog],
        fleet=[Fleet(**row) for row in session.execute(_FLEET).mappings()],
        workers=[_worker(row.name, row.figures) for row in workers],
        leases=Leases(kept=leases.kept, lapsed=leases.lapsed, lost=leases.lost),
        deliveries=delivery_records.counts(session),
        arrivals=_arrivals(session),
    )


def _arrivals(session: Session) -> Arrivals:
    found = session.execute(_ARRIVALS, {"most": COUNTED}).one()
    return Arrivals(dead=found.dead, held=found.held)


def _worker(name: str, figures: dict[str, Any]) -> WorkerFigures:
    return WorkerFigures(
        name=name,
        # What a newer worker tells beyond that is for newer readers.
        ended=[EndedFigure(*each[: len(EndedFigure._fields)]) for each in figures.get("ended", [])],
        stages=[StageFigure(*each) for each in figures.get("stages", [])],
    )
