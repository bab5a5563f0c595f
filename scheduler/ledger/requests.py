"""Requests over HTTP: what their jobs' rows have no place for. Nothing here commits.

A request is a job of a feed, with the same id. It is read ten times a second by whoever waits for
it, so each question here is one look-up by primary keys.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from scheduler.ledger import batches, jobs
from scheduler.ledger.jobs import Ending, Ticket
from scheduler.ledger.tables import ENDED, JobState

FEED = "requests"
"""The name of the feeds that requests are appended to."""


@dataclass(frozen=True, kw_only=True)
class NewRequest:
    """A request on its way in.

    Attributes:
        id: Its job's.
        owner: Who alone may see it.
        endpoint: The catalogue's id.
        cdn: Address of our public files, as the caller saw it.
        submitted_since: Requests that went to the same feed after the counters were refreshed.
        start_within_s: It fails unless it has started by then; None for whenever.
        idempotency_key: Makes the same submission again the same request.
        fingerprint: What two submissions with the same key must have in common.
        transient: Its result is forgotten once it was delivered.
    """

    id: UUID
    owner: str
    endpoint: str
    cdn: str
    submitted_since: int = 0
    start_within_s: float | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None
    transient: bool = False


_ADD = text("""
with given as (
    select * from jsonb_to_recordset(cast(:rows as jsonb)) as g(id uuid, owner text, endpoint text,
        cdn text, submitted_since bigint, start_within_s double precision, idempotency_key text,
        fingerprint text, transient boolean)
), counted as (
    select given.*, coalesce(arrived, 0) as arrived, coalesce(gone, 0) as gone
    from given join jobs on jobs.id = given.id
        left join queue_counters on queue_counters.batch_id = jobs.batch_id
), added as (
    insert into requests (id, owner, endpoint, cdn, place, start_by, start_within_s,
        idempotency_key, fingerprint, transient)
    select id, owner, endpoint, cdn, arrived + submitted_since,
        now() + make_interval(secs => start_within_s), start_within_s, idempotency_key,
        fingerprint, transient
    from counted
    on conflict (owner, idempotency_key) do nothing
    returning id, place
)
select added.id, cast(greatest(place - gone, 0) as int) as position
from added join counted on counted.id = added.id
""")


def add(session: Session, made: Sequence[NewRequest]) -> dict[UUID, int]:
    """Add what HTTP knows of jobs, in the transaction that makes the jobs.

    Returns:
        How many requests are before each. One is missing where its idempotency key is another
        request's, so that the transaction must be given up.
    """
    rows = json.dumps([{**vars(each), "id": str(each.id)} for each in made])
    return {row.id: row.position for row in session.execute(_ADD, {"rows": rows})}


_UNDER_KEY = text("""
select id, fingerprint from requests where owner = :owner and idempotency_key = :key
""")


def under_key(session: Session, owner: str, key: str) -> tuple[UUID, str] | None:
    """Return the request that an owner made under an idempotency key, and its fingerprint."""
    row = session.execute(_UNDER_KEY, {"owner": owner, "key": key}).one_or_none()
    return None if row is None else (row.id, row.fingerprint)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a request stands.

    Attributes:
        position: How many requests are before it in its line; of meaning while it waits.
        epoch: Its attempt.
    """

    id: UUID
    owner: str
    endpoint: str
    cdn: str
    transient: bool
    position: int
    state: JobState
    epoch: int
    started_at: datetime | None
    ended_at: datetime | None
    error: dict[str, Any] | None

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    @property
    def waits(self) -> bool:
        """Whether no worker has it."""
        return self.state in (JobState.WAITING, JobState.QUEUED)

    @property
    def mark(self) -> str:
        """What changes when something worth telling does."""
        return f"{self.position}" if self.waits else f"{self.state}"


_POSITION = """
    cast(case when jobs.state in ('waiting', 'queued')
        then greatest(requests.place - coalesce(queue_counters.gone, 0), 0) else 0 end as int)
"""
_STANDING = f"""
select requests.id, requests.owner, requests.endpoint, requests.cdn, requests.transient,
    {_POSITION} as position, jobs.state, jobs.epoch, jobs.started_at, jobs.ended_at, jobs.error
"""
_FIND = text(f"""
{_STANDING}
from requests cross join jobs left join queue_counters on queue_counters.batch_id = jobs.batch_id
where requests.id = :id and jobs.id = :id
""")
_FIND_ALL = text(f"""
{_STANDING}
from unnest(cast(:ids as uuid[])) as asked(id)
    join requests on requests.id = asked.id
    join jobs on jobs.id = asked.id
    left join queue_counters on queue_counters.batch_id = jobs.batch_id
""")
_CHANGED = text(f"""
{_STANDING}
from unnest(cast(:ids as uuid[]), cast(:marks as text[])) as known(id, mark)
    join requests on requests.id = known.id
    join jobs on jobs.id = known.id
    left join queue_counters on queue_counters.batch_id = jobs.batch_id
where known.mark is distinct from case when jobs.state in ('waiting', 'queued')
    then cast({_POSITION} as text) else jobs.state end
""")


def find(connection: Session | Connection, request_id: UUID) -> Standing | None:
    """Return where a request stands; None where there is none."""
    row = connection.execute(_FIND, {"id": request_id}).one_or_none()
    return None if row is None else _standing(row._mapping)


def find_all(connection: Session | Connection, ids: Sequence[UUID]) -> list[Standing]:
    """Return where requests stand, of those that there are, in any order."""
    return [_standing(row._mapping) for row in connection.execute(_FIND_ALL, {"ids": list(ids)})]


def changed(connection: Session | Connection, known: Mapping[UUID, str]) -> list[Standing]:
    """Return those requests whose mark is no longer the one that is known of them."""
    parameters = {"ids": list(known), "marks": list(known.values())}
    return [_standing(row._mapping) for row in connection.execute(_CHANGED, parameters)]


def _standing(row: Any) -> Standing:  # noqa: ANN401 - a SQLAlchemy row mapping
    return Standing(**{**row, "state": JobState(row["state"])})


_BASES = text("select id, cdn from requests where id = any(:ids)")


def bases(session: Session, job_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Return the address of our public files as their callers saw it, of jobs that are requests."""
    return {row.id: row.cdn for row in session.execute(_BASES, {"ids": list(job_ids)})}


_OUTCOME = text("select outcome from jobs where id = :id")


def outcome(connection: Session | Connection, request_id: UUID) -> dict[str, Any]:
    """Return the outcome of a request that succeeded."""
    found: dict[str, Any] = connection.execute(_OUTCOME, {"id": request_id}).scalar_one()
    return found


_STATE = text("select epoch, state from jobs where id = :id for update")
_ASK = text("update jobs set cancel_requested = true where id = :id and state = 'running'")


def cancel(session: Session, request_id: UUID, *, unless_running: bool = False) -> bool:
    """End a request that waits; let the worker know if it runs, which may finish all the same.

    Args:
        session: The transaction.
        request_id: Which one.
        unless_running: Leave it alone if it runs.

    Returns:
        Whether it had not ended.
    """
    row = session.execute(_STATE, {"id": request_id}).one()
    if row.state == JobState.RUNNING and unless_running:
        return True
    if row.state == JobState.RUNNING:
        session.execute(_ASK, {"id": request_id})
        batches.hurry(session)
    elif row.state not in ENDED:
        ending = Ending(ticket=Ticket(request_id, row.epoch), state=JobState.CANCELLED)
        jobs.finish(session, [ending], from_states=(JobState.WAITING, JobState.QUEUED))
    return row.state not in ENDED


_OVERDUE = text("""
select jobs.id, jobs.epoch, requests.start_within_s
from requests join jobs on jobs.id = requests.id
where requests.start_by < clock_timestamp() and jobs.state in ('waiting', 'queued')
order by requests.start_by limit :limit
for update of jobs skip locked
""")
_IN_TIME = text("""
update requests set start_by = null where start_by < clock_timestamp()
    and exists (select from jobs where jobs.id = requests.id and jobs.ended_at is not null)
""")


def expire(session: Session, *, limit: int) -> int:
    """End requests that had to start by now and did not; return how many those were."""
    endings = [
        Ending(
            ticket=Ticket(row.id, row.epoch),
            state=JobState.FAILED,
            error=json.dumps(_too_late(row.start_within_s)),
        )
        for row in session.execute(_OVERDUE, {"limit": limit})
    ]
    ended = jobs.finish(session, endings, from_states=(JobState.WAITING, JobState.QUEUED))
    session.execute(_IN_TIME)
    return len(ended)


def _too_late(within_s: float) -> dict[str, str]:
    message = f"The request did not start within the {within_s:g} seconds that it was given"
    return {"code": "request_timeout", "kind": "request", "message": message}


# One row for each open feed. What has left never falls, so that no request's position rises.
# `refreshed_at` is for processes of 0.1.0, which leave young counters alone.
_REFRESH = text("""
with running as (
    select batch_id, count(*) as jobs from jobs where state = 'running' group by batch_id
), counted as (
    select batches.id, batches.total + coalesce(sum(batch_deltas.total), 0) as arrived,
        batches.succeeded + batches.failed + batches.cancelled + batches.rejected
            + coalesce(sum(batch_deltas.succeeded + batch_deltas.failed + batch_deltas.cancelled
                + batch_deltas.rejected), 0) + coalesce(max(running.jobs), 0) as gone
    from batches
        left join batch_deltas on batch_deltas.batch_id = batches.id
        left join running on running.batch_id = batches.id
    where batches.ended_at is null and batches.feed = :feed
    group by batches.id
)
insert into queue_counters (batch_id, arrived, gone) select id, arrived, gone from counted
on conflict (batch_id) do update set refreshed_at = clock_timestamp(),
    arrived = greatest(queue_counters.arrived, excluded.arrived),
    gone = greatest(queue_counters.gone, excluded.gone)
""")
_WAITING = text("""
select batches.owner, batches.endpoint, cast(sum(arrived - gone) as int) as waiting
from queue_counters join batches on batches.id = queue_counters.batch_id
where batches.ended_at is null group by batches.owner, batches.endpoint
""")


@dataclass(frozen=True, kw_only=True)
class Line:
    """How many requests of an owner wait at an endpoint."""

    owner: str
    endpoint: str
    waiting: int


def refresh(session: Session) -> list[Line]:
    """Bring the counters up to date; return how long the lines are.

    Each process does so for itself: whoever relied on another's would forget what it has counted
    itself in the meantime. Its cost grows with the open feeds, not with their jobs.
    """
    session.execute(_REFRESH, {"feed": FEED})
    return [Line(**row._mapping) for row in session.execute(_WAITING)]


@dataclass(frozen=True, kw_only=True)
class JobLog:
    """What a job had to say in its last attempt, a JSON text of a list of entries."""

    job_id: UUID
    epoch: int
    entries: str


_KEEP = text("""
insert into job_logs (job_id, epoch, entries)
select * from unnest(cast(:ids as uuid[]), cast(:epochs as int[]), cast(:entries as jsonb[]))
on conflict (job_id) do update set epoch = excluded.epoch, entries = excluded.entries
where job_logs.epoch <= excluded.epoch
""")
_LOG = text("select epoch, entries from job_logs where job_id = :id")


def keep_logs(connection: Session | Connection, logs: Sequence[JobLog]) -> None:
    """Write what jobs had to say until now; an earlier attempt's is replaced."""
    if not logs:
        return
    connection.execute(
        _KEEP,
        {
            "ids": [each.job_id for each in logs],
            "epochs": [each.epoch for each in logs],
            "entries": [each.entries for each in logs],
        },
    )


def log_of(connection: Session | Connection, job_id: UUID) -> tuple[int, list[dict[str, Any]]]:
    """Return the attempt that a kept log is of, and its entries; (0, []) where there is none."""
    row = connection.execute(_LOG, {"id": job_id}).one_or_none()
    return (0, []) if row is None else (row.epoch, row.entries)


_FORGET = text("""
with requests_ as (delete from requests where id >= :low and id < :high),
    logs as (delete from job_logs where job_id >= :low and job_id < :high)
delete from queue_counters where batch_id >= :low and batch_id < :high
""")


def forget(session: Session, low: UUID, high: UUID) -> None:
    """Delete what is known of jobs from id `low` up to, and without, `high`."""
    session.execute(_FORGET, {"low": low, "high": high})
