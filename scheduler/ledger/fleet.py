"""Workers as rows: who is there, on which device, with what resident, and under which lease."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from scheduler.ledger.jobs import Ticket
from scheduler.ledger.tables import Worker

BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Upper bounds of the buckets that durations are counted in; what is longer has one of its own."""


class EndedFigure(NamedTuple):
    """How many jobs ended in a way."""

    endpoint: str
    state: str
    error: str
    """The error's code; empty where there is none."""
    jobs: int
    kind: str = ""
    """The error's kind; empty where there is none, and from workers that did not tell it yet."""


class StageFigure(NamedTuple):
    """How long a stage took: jobs in each bucket, and seconds in all."""

    endpoint: str
    stage: str
    counts: list[int]
    sum_s: float


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What became of a worker's jobs, since it started."""

    ended: Sequence[EndedFigure] = ()
    stages: Sequence[StageFigure] = ()


@dataclass(frozen=True, kw_only=True)
class Self:
    """How a worker describes itself.

    Attributes:
        id: Drawn anew by each process.
        name: `host:pid`, for people.
        device: A torch device name and what it is, such as `cuda:0 NVIDIA H200`.
        memory_bytes: The budget for resident pipelines.
        version: Enlarger's own.
        ready: Pipelines it can serve.
        not_ready: Pipelines it can't, each with the reason.
        resident: Pipelines on the device, each with the bytes it takes.
        stopping: It takes nothing new, and only finishes what it has.
        figures: What became of its jobs.
    """

    id: UUID
    name: str
    device: str
    memory_bytes: int
    version: str
    ready: tuple[str, ...] = ()
    not_ready: dict[str, str] = field(default_factory=dict)
    resident: dict[str, int] = field(default_factory=dict)
    stopping: bool = False
    figures: Figures = Figures()


_REGISTER = text("""
with self as (
    insert into workers (id, name, device, memory_bytes, version, ready, not_ready, resident,
        figures, stopped_at)
    values (:id, :name, :device, :memory_bytes, :version, cast(:ready as jsonb),
        cast(:not_ready as jsonb), cast(:resident as jsonb), cast(:figures as jsonb),
        case when :stopping then clock_timestamp() end)
    on conflict (id) do update set last_seen = clock_timestamp(),
        stopped_at = case when :stopping then coalesce(workers.stopped_at, clock_timestamp()) end,
        ready = excluded.ready, not_ready = excluded.not_ready, resident = excluded.resident,
        figures = excluded.figures
)
insert into leases (worker_id, expires_at)
values (:id, clock_timestamp() + make_interval(secs => :lease_s))
on conflict (worker_id) do update set expires_at = excluded.expires_at
""")


def renew(session: Session, worker: Self, *, lease_s: float) -> None:
    """Write the worker's row and push its lease `lease_s` seconds ahead; also registers it."""
    session.execute(
        _REGISTER,
        {
            "id": worker.id,
            "name": worker.name,
            "device": worker.device,
            "memory_bytes": worker.memory_bytes,
            "version": worker.version,
            "ready": json.dumps(dict.fromkeys(worker.ready, True)),
            "not_ready": json.dumps(worker.not_ready),
            "resident": json.dumps(worker.resident),
            "figures": json.dumps(vars(worker.figures)),
            "stopping": worker.stopping,
            "lease_s": lease_s,
        },
    )


_STOP = text("""
with gone as (delete from leases where worker_id = :id)
update workers set stopped_at = clock_timestamp() where id = :id
""")


def sign_off(session: Session, worker_id: UUID) -> None:
    """End a worker's lease now; whatever it still held lapses at the next sweep."""
    session.execute(_STOP, {"id": worker_id})


_BURY = text("""
with dead as (delete from leases where expires_at < :now returning worker_id)
update workers set stopped_at = :now, lapsed = true from dead where workers.id = dead.worker_id
""")


def bury(session: Session, *, now: datetime) -> None:
    """Mark the workers whose lease lapsed as stopped."""
    session.execute(_BURY, {"now": now})


def last_death(session: Session) -> datetime | None:
    """Return when a worker last stopped: messages that were in its hands are nobody's now."""
    found: datetime | None = session.scalar(
        text("select max(stopped_at) from workers where stopped_at > now() - interval '1 day'")
    )
    return found


def lately_stopped(session: Session) -> list[UUID]:
    """Name the workers that stopped within the hour: nobody reads their queues."""
    return list(
        session.scalars(
            text("select id from workers where stopped_at > now() - interval '1 hour'"),
        )
    )


def alive(session: Session) -> list[Worker]:
    """Return the workers that have not stopped, by name."""
    return list(
        session.scalars(select(Worker).where(Worker.stopped_at.is_(None)).order_by(Worker.name))
    )


class Serving(NamedTuple):
    """Workers that can serve the same, with the same of it on their devices, in one version."""

    ids: list[UUID]
    version: str
    ready: frozenset[str]
    resident: frozenset[str]


# Those alike are one row: ten thousand documents would take a quarter of a second to read.
_SERVING = text("""
select array_agg(id order by name) as ids, version, ready, resident
from workers where stopped_at is null group by version, ready, resident order by min(name)
""")


def serving(session: Session) -> list[Serving]:
    """Return of the workers that have not stopped what dispatching needs."""
    return [
        Serving(row.ids, row.version, frozenset(row.ready), frozenset(row.resident))
        for row in session.execute(_SERVING)
    ]


def obstacle(session: Session, pipeline: str) -> str | None:
    """Say why no living worker can serve a pipeline.

    None where one can, and where none was told to: such workers may still come, and where they are
    started by the work there is, they come for no other reason.
    """
    workers = alive(session)
    reasons = [
        f"{worker.name}: {worker.not_ready[pipeline]}"
        for worker in workers
        if pipeline in worker.not_ready
    ]
    if not reasons or any(pipeline in worker.ready for worker in workers):
        return None
    found = "; ".join(reasons)
    return f"no worker can serve {pipeline} ({found}); `enlarger workers` lists them"


def describe(worker: Worker) -> dict[str, Any]:
    """Return a worker as JSON has it."""
    return {
        "id": str(worker.id),
        "name": worker.name,
        "device": worker.device,
        "memory_bytes": worker.memory_bytes,
        "version": worker.version,
        "ready": sorted(worker.ready),
        "not_ready": worker.not_ready,
        "resident": worker.resident,
        "started_at": worker.started_at.isoformat(),
        "last_seen": worker.last_seen.isoformat(),
    }


_READY = text("""
select pipeline, count(*) as workers from workers, jsonb_object_keys(ready) as pipeline
where stopped_at is null group by pipeline
""")


def ready_counts(session: Session) -> dict[str, int]:
    """Return how many living workers can serve each pipeline."""
    return {row.pipeline: row.workers for row in session.execute(_READY)}


_HELD = text("""
select jobs.id, jobs.epoch, jobs.cancel_requested or batches.state = 'cancelled' as unwanted
from jobs join batches on batches.id = jobs.batch_id
where jobs.worker_id = :worker_id and jobs.state = 'running'
""")


def held_by(session: Session, worker_id: UUID) -> dict[Ticket, bool]:
    """Return what a worker holds, and of each whether its cancellation was asked for."""
    rows = session.execute(_HELD, {"worker_id": worker_id})
    return {Ticket(row.id, row.epoch): row.unwanted for row in rows}
