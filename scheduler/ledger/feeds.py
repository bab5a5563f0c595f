"""Feeds: batches that take jobs one by one as they come, instead of reading a source.

Requests over HTTP and events of buckets become jobs of a feed, so that all that is known of batches
(fairness, pausing, counters, retention) holds for them too. There is one open batch for each feed;
the scheduler closes it when its day is over, and the next job opens the next.

Nothing here commits. Who appends holds an advisory lock, shared; closing takes it alone. So a batch
is never ended under a job that was appended but not yet committed, and a thousand requests a second
don't wait for each other as they would for a lock on the batch's row.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from scheduler.ledger import batches, periods
from scheduler.ledger.intake import NewJob

_LOCK = 0x656E6C64  # the first half of the advisory locks' keys; any constant serves
_PATIENCE = "250ms"


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Jobs that belong together: one name, owner, endpoint and priority.

    Attributes:
        name: Where they come from; stands as the batch's source.
        endpoint: The catalogue's id.
        destination: The folder or prefix that holds all results.
        owner: Who shares the fleet as one.
        priority: Batches with a higher one are served first.
        options: As a submission's.
    """

    name: str
    endpoint: str
    destination: str
    owner: str = ""
    priority: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def key(self) -> str:
        """What tells this feed from all others, as the fingerprint of its open batch."""
        return hashlib.sha256(json.dumps(vars(self), sort_keys=True).encode()).hexdigest()


def append(session: Session, feed: Feed, rows: Sequence[NewJob]) -> list[UUID]:
    """Add jobs to a feed's open batch, in the caller's transaction; return their ids, in order.

    Unlike in a batch that is read, two rows may write the same destination: what comes later is
    newer. A row's own `line` is not used; lines come from a sequence, and have gaps. To a batch
    that was cancelled within the last second the rows are added all the same, and cancelled.

    Args:
        session: The transaction; keep it short, closing the feed waits for it.
        feed: Where they belong.
        rows: At least one; a row with an `error` is counted as rejected and never runs.
    """
    batch_id, lines = _current(session, feed, lines=len(rows))
    ids = [periods.job_id(batch_id, line) for line in lines]
    _insert(session, batch_id, list(zip(ids, lines, rows, strict=True)))
    return ids


def current(session: Session, feed: Feed) -> UUID:
    """Return a feed's open batch: for what has to be there before the jobs that are appended."""
    return _current(session, feed, lines=0)[0]


def _current(session: Session, feed: Feed, *, lines: int) -> tuple[UUID, Sequence[int]]:
    """Return a feed's open batch, opened if need be, and so many lines for it."""
    session.execute(_SHARE, {"space": _LOCK, "key": _lock_key(feed.key)})
    found = session.execute(_FIND, {"key": feed.key, "count": lines}).one_or_none()
    if found is None:
        _open(session, feed)
        found = session.execute(_FIND, {"key": feed.key, "count": lines}).one()
    return found.id, found.lines


_SHARE = text("select pg_advisory_xact_lock_shared(:space, :key)")
_FIND = text("""
select id, array(select nextval('feed_lines') from generate_series(1, :count)) as lines
from batches where fingerprint = :key and fed_until is not null
""")
_OPEN = text("""
insert into batches (id, owner, state, priority, source, source_version, destination, endpoint,
    arguments, options, fingerprint, feed, fed_until, read_at)
values (:id, :owner, 'open', :priority, :name, '', :destination, :endpoint, '{}',
    cast(:options as jsonb), :key, :name,
    (date_trunc('day', now() at time zone 'utc') + interval '1 day') at time zone 'utc', now())
on conflict (fingerprint) do nothing
returning id
""")


def _open(session: Session, feed: Feed) -> None:
    """Open the feed's next batch, unless somebody else just did."""
    id_ = uuid7()
    periods.ensure(session, periods.period_of(id_))
    parameters = {**vars(feed), "id": id_, "key": feed.key, "options": json.dumps(feed.options)}
    if session.scalar(_OPEN, parameters) is not None:
        batches.tell(session, "batch.submitted", id_)


# One statement, as one round trip; the pipelines change, and are written, once in a batch's life.
_INSERT = text("""
with given as (
    select * from jsonb_to_recordset(cast(:rows as jsonb)) as g(id uuid, line bigint, pipeline text,
        endpoint text, source text, source_version text, destination text, custom_id text,
        arguments jsonb, passthrough jsonb, seed bigint, error jsonb)
), added as (
    insert into jobs (id, batch_id, line, state, pipeline, endpoint, source, source_version,
        destination, custom_id, arguments, passthrough, seed, error, ended_at)
    select id, :batch_id, line, case when error is null then 'waiting' else 'rejected' end,
        pipeline, endpoint, source, source_version, destination, custom_id, arguments, passthrough,
        seed, error, case when error is not null then clock_timestamp() end
    from given
    returning id, state
), told as (
    insert into events (type, batch_id, job_id)
    select 'job.rejected', :batch_id, id from added where state = 'rejected'
), counted as (
    insert into batch_deltas (batch_id, total, rejected)
    select :batch_id, count(*), count(*) filter (where state = 'rejected') from added
), named as (
    update batches set pipelines =
        array(select distinct unnest(pipelines || cast(:pipelines as text[])))
    where id = :batch_id and not pipelines @> cast(:pipelines as text[])
)
select pg_notify(:channel, '')
""")


def _insert(session: Session, batch_id: UUID, rows: list[tuple[UUID, int, NewJob]]) -> None:
    given = [
        {
            **row._asdict(),
            "id": str(id_),
            "line": line,
            **{name: _parsed(getattr(row, name)) for name in ("arguments", "passthrough", "error")},
        }
        for id_, line, row in rows
    ]
    session.execute(
        _INSERT,
        {
            "batch_id": batch_id,
            "rows": json.dumps(given),
            "pipelines": sorted({row.pipeline for _, _, row in rows if row.error is None}),
            "channel": batches.CHANNEL,
        },
    )


def _parsed(document: str | None) -> Any:  # noqa: ANN401 - JSON
    return None if document is None else json.loads(document)


_OVER = text("""
select id from batches
where ended_at is null and fed_until is not null and (fed_until <= now() or state = 'cancelled')
order by id
""")
_KEY = text("select fingerprint from batches where id = :id and fed_until is not null")
_CLOSE = text("update batches set fed_until = null, fingerprint = null where id = :id")


def over(session: Session) -> list[UUID]:
    """Return the feeds' batches whose day is over, or that were cancelled, oldest first."""
    return list(session.scalars(_OVER))


def close(session: Session, batch_id: UUID) -> None:
    """Let a feed's batch take no more jobs; it ends as any other when its jobs have.

    Raises:
        LedgerUnavailable: Somebody is still appending and takes long; nothing happened.
    """
    key = session.scalar(_KEY, {"id": batch_id})
    if key is None:
        return
    session.execute(text(f"set local lock_timeout = '{_PATIENCE}'"))
    session.execute(
        text("select pg_advisory_xact_lock(:space, :key)"),
        {"space": _LOCK, "key": _lock_key(key)},
    )
    session.execute(_CLOSE, {"id": batch_id})


def _lock_key(key: str) -> int:
    """Return 32 bits of a feed's key; two feeds with the same ones only wait for each other."""
    return int.from_bytes(bytes.fromhex(key[:8]), signed=True)
