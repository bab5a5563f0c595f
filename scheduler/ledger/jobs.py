"""The transitions of jobs in workers' hands, and the ends of all.

`intake` makes jobs, `queueing` hands them out, `lapses` takes them from dead workers; nothing else
writes to their table. Each function is one transition or one question. None commits: the caller's
transaction decides, so that two transitions can be made atomic. The guards are in the WHERE
clauses: of two that act on the same job, only one can see a changed row.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from scheduler.ledger.reuse import Made
from scheduler.ledger.tables import JobState


class Ticket(NamedTuple):
    """What a message says of a job: its id, and the epoch that its holder must match."""

    job_id: UUID
    epoch: int


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """A job that this worker now holds; everything that doing it takes."""

    id: UUID
    epoch: int
    batch_id: UUID
    line: int
    endpoint: str
    pipeline: str
    source: str
    source_version: str | None
    source_alternative: str | None = None
    """Tried where nothing is stored under `source`: its other reading."""
    source_etag: str | None = None
    """Of the bytes that an earlier attempt read; this one reads no others."""
    destination: str
    arguments: dict[str, Any]
    seed: int | None
    failures: int
    alone: bool
    owner: str
    options: dict[str, Any]
    folder: str
    """The batch's destination, which a local result may not leave, not even by a link."""

    @property
    def ticket(self) -> Ticket:
        """What completing or releasing this job must match."""
        return Ticket(self.id, self.epoch)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a job ended; `outcome` and `error` are JSON texts.

    `outcome` holds `objects` (one entry per stored file) and `body` (the endpoint's result), and
    `existing` or `reused_from` where nothing was computed, which the batch counts;
    `error` holds `code`, `kind`, `message` and, where known, `field`.
    """

    ticket: Ticket
    state: JobState
    outcome: str | None = None
    error: str | None = None
    bytes_out: int = 0
    device_s: float = 0.0
    made: Made | None = None
    """What equal jobs may use, once this ending is written."""


@dataclass(frozen=True, kw_only=True)
class Release:
    """A job given back unfinished: when it may run again, and whether that counts as a failure."""

    ticket: Ticket
    wait_s: float = 0.0
    failed: bool = False
    error: str | None = None
    etag: str | None = None
    """Of the source as it was read, for the next attempt."""


# Where ids are known the state is compared as `state || ''`. The planner believes that few rows
# are queued or running, and would read the whole partial index to find a handful of known ids; the
# expression hides the index from it and leaves the primary key.
_CLAIM = text("""
with free as (
    select found.id from unnest(cast(:ids as uuid[]), cast(:epochs as int[])) as asked(id, epoch)
    cross join lateral (
        select jobs.id from jobs
        where jobs.id = asked.id and jobs.epoch = asked.epoch and jobs.state || '' = 'queued'
            and (not jobs.alone or :alone)
        for update of jobs skip locked
    ) found
)
update jobs set state = 'running', epoch = jobs.epoch + 1, worker_id = :worker_id,
    started_at = clock_timestamp(),
    deadline = clock_timestamp() + make_interval(secs => :deadline_s)
from free, batches
where jobs.id = free.id and batches.id = jobs.batch_id
    and batches.state not in ('cancelled', 'paused')
returning jobs.id, jobs.epoch, jobs.batch_id, jobs.line, jobs.endpoint, jobs.pipeline, jobs.source,
    jobs.source_version, jobs.source_alternative, jobs.source_etag, jobs.destination,
    jobs.arguments, jobs.seed, jobs.failures, jobs.alone, batches.owner, batches.options,
    batches.destination as folder
""")


def claim(
    session: Session | Connection,
    tickets: Sequence[Ticket],
    *,
    worker_id: UUID,
    deadline_s: float,
    alone: bool = True,
) -> list[Claimed]:
    """Move `queued -> running` and return the jobs that were won.

    A ticket whose job was claimed, cancelled, paused or republished under another epoch wins
    nothing.

    Args:
        session: The transaction.
        tickets: The jobs, at the epochs that their messages carried.
        worker_id: Who will hold them.
        deadline_s: From now until a job that still runs counts as lapsed.
        alone: The worker has nothing else in hand; else jobs that must run alone are left.
    """
    won = session.execute(
        _CLAIM,
        {
            "ids": [ticket.job_id for ticket in tickets],
            "epochs": [ticket.epoch for ticket in tickets],
            "worker_id": worker_id,
            "deadline_s": deadline_s,
            "alone": alone,
        },
    )
    order = {ticket.job_id: place for place, ticket in enumerate(tickets)}
    claimed = [Claimed(**row._mapping) for row in won]
    return sorted(claimed, key=lambda job: order[job.id])


_LONELY = text("""
select jobs.id, jobs.epoch
from jobs join unnest(cast(:ids as uuid[]), cast(:epochs as int[])) as t(id, epoch)
    on jobs.id = t.id and jobs.epoch = t.epoch
where jobs.state || '' = 'queued' and jobs.alone
""")


def lonely(session: Session, tickets: Sequence[Ticket]) -> list[Ticket]:
    """Return those of the tickets whose jobs can be claimed, but only to run alone."""
    rows = session.execute(
        _LONELY,
        {
            "ids": [ticket.job_id for ticket in tickets],
            "epochs": [ticket.epoch for ticket in tickets],
        },
    )
    return [Ticket(*row) for row in rows]


# The documents come as one JSON array of texts: psycopg would quote the elements of a text[] in
# Python, quotation mark by quotation mark, at twice the cost of all the rest.
_FINISH = text("""
with documents as materialized (
    select cast(:outcomes as jsonb) as outcomes, cast(:errors as jsonb) as errors
), given as (
    select g.*, outcomes ->> cast(place - 1 as int) as outcome,
        errors ->> cast(place - 1 as int) as error
    from documents cross join unnest(cast(:ids as uuid[]), cast(:epochs as int[]),
        cast(:states as text[]), cast(:bytes as bigint[]), cast(:seconds as double precision[]))
        with ordinality as g(id, epoch, state, bytes_out, device_s, place)
), ended as (
    update jobs set state = given.state, outcome = cast(given.outcome as jsonb),
        error = cast(given.error as jsonb), ended_at = clock_timestamp(), deadline = null
    from given
    where jobs.id = given.id and jobs.epoch = given.epoch
        and jobs.state || '' = any(:from_states)
        and (cast(:worker_id as uuid) is null or jobs.worker_id = :worker_id)
    returning jobs.id, jobs.batch_id, jobs.state, jobs.outcome, given.bytes_out, given.device_s
), told as (
    insert into events (type, batch_id, job_id) select 'job.' || state, batch_id, id from ended
), counted as (
    insert into batch_deltas (batch_id, succeeded, failed, cancelled, existing, reused, bytes_out,
        device_s)
    select batch_id, count(*) filter (where state = 'succeeded'),
        count(*) filter (where state = 'failed'), count(*) filter (where state = 'cancelled'),
        count(*) filter (where outcome ? 'existing'),
        count(*) filter (where outcome ? 'reused_from'), sum(bytes_out), sum(device_s)
    from ended group by batch_id
)
select id from ended
""")


def finish(
    session: Session | Connection,
    endings: Sequence[Ending],
    *,
    worker_id: UUID | None = None,
    from_states: Sequence[JobState] = (JobState.RUNNING,),
) -> set[UUID]:
    """Write outcomes, one event each and the counters' deltas; the only way for a job to end.

    Args:
        session: The transaction.
        endings: At most one for each job.
        worker_id: The worker that must hold the jobs; None for endings that no worker decides.
        from_states: Jobs in other states are left alone.

    Returns:
        The jobs that ended by this call; a job missing here was lost to somebody else.
    """
    # One lock order for all callers; by a plain number, as a comparison of UUIDs runs in Python.
    endings = sorted(endings, key=lambda ending: ending.ticket.job_id.int)
    ended = session.scalars(
        _FINISH,
        {
            "ids": [ending.ticket.job_id for ending in endings],
            "epochs": [ending.ticket.epoch for ending in endings],
            "states": [str(ending.state) for ending in endings],
            "outcomes": json.dumps([ending.outcome for ending in endings], ensure_ascii=False),
            "errors": json.dumps([ending.error for ending in endings], ensure_ascii=False),
            "bytes": [ending.bytes_out for ending in endings],
            "seconds": [ending.device_s for ending in endings],
            "worker_id": worker_id,
            "from_states": [str(state) for state in from_states],
        },
    )
    return set(ended)


_RELEASE = text("""
with given as (
    select * from unnest(cast(:ids as uuid[]), cast(:epochs as int[]),
        cast(:waits as double precision[]), cast(:failures as int[]), cast(:errors as text[]),
        cast(:etags as text[])) as g(id, epoch, wait_s, failures, error, etag)
)
update jobs set state = 'waiting', worker_id = null, deadline = null, queued_at = null,
    run_after = clock_timestamp() + make_interval(secs => given.wait_s),
    failures = jobs.failures + given.failures,
    error = coalesce(cast(given.error as jsonb), jobs.error),
    source_etag = coalesce(jobs.source_etag, given.etag)
from given
where jobs.id = given.id and jobs.epoch = given.epoch and jobs.state || '' = 'running'
    and jobs.worker_id = :worker_id
returning jobs.id
""")


def release(
    session: Session | Connection, releases: Sequence[Release], *, worker_id: UUID
) -> set[UUID]:
    """Move `running -> waiting` and return the jobs that were still this worker's to give back."""
    releases = sorted(releases, key=lambda release: release.ticket)
    released = session.scalars(
        _RELEASE,
        {
            "ids": [each.ticket.job_id for each in releases],
            "epochs": [each.ticket.epoch for each in releases],
            "waits": [each.wait_s for each in releases],
            "failures": [int(each.failed) for each in releases],
            "errors": [each.error for each in releases],
            "etags": [each.etag for each in releases],
            "worker_id": worker_id,
        },
    )
    return set(released)
