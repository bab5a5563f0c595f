"""How events become deliveries: out of the outbox, to every subscription that they fit.

Like `jobs`, nothing here commits. All of it happens in one transaction, and a delivery is unique by
event and subscription: whatever dies when, each subscriber has each message once.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler.ledger.webhook_tables import Style


@dataclass(frozen=True, kw_only=True)
class Noted:
    """An event that somebody may want to hear of."""

    event_id: int
    type: str
    batch_id: UUID
    job_id: UUID | None
    at: datetime


class Listener(NamedTuple):
    """A subscription that an event fits."""

    event_id: int
    subscription_id: UUID
    origin: str
    style: Style


class Message(NamedTuple):
    """What one subscription is to be told; `body` is JSON."""

    event: Noted
    listener: Listener
    body: str


_TAKE = text("""
delete from outbox where event_id in (
    select event_id from outbox order by event_id limit :limit for update skip locked
) returning event_id, type, batch_id, job_id, at
""")


def take(session: Session, *, limit: int) -> list[Noted]:
    """Take the oldest events out; they are back if the transaction fails."""
    rows = session.execute(_TAKE, {"limit": limit})
    return sorted((Noted(**row._mapping) for row in rows), key=lambda noted: noted.event_id)


# Whom an event may concern is found by three small indexes; a standing subscription of an owner
# hears only of that owner's batches.
_LISTENERS = text("""
with given as (
    select * from unnest(cast(:event_ids as bigint[]), cast(:types as text[]),
        cast(:batch_ids as uuid[]), cast(:job_ids as uuid[]))
        as g(event_id, type, batch_id, job_id)
), described as (
    select given.*, batches.owner, coalesce(jobs.endpoint, batches.endpoint) as endpoint,
        coalesce(jobs.source, batches.source) as source
    from given join batches on batches.id = given.batch_id left join jobs on jobs.id = given.job_id
)
select event_id, fit.id as subscription_id, fit.origin, fit.style
from described cross join lateral (
    select * from subscriptions
    where job_id is null and batch_id is null and owner in ('', described.owner)
    union all select * from subscriptions where subscriptions.batch_id = described.batch_id
    union all select * from subscriptions where subscriptions.job_id = described.job_id
) fit
where fit.state <> 'disabled' and described.type = any(fit.events)
    and (fit.endpoint is null or fit.endpoint = described.endpoint)
    and (fit.prefix is null or starts_with(described.source, fit.prefix))
""")


def listeners(session: Session, events: Sequence[Noted]) -> list[Listener]:
    """Return who is to hear of which of the events."""
    rows = session.execute(
        _LISTENERS,
        {
            "event_ids": [event.event_id for event in events],
            "types": [event.type for event in events],
            "batch_ids": [event.batch_id for event in events],
            "job_ids": [event.job_id for event in events],
        },
    )
    return [
        Listener(row.event_id, row.subscription_id, row.origin, Style(row.style)) for row in rows
    ]


_ADD = text("""
insert into deliveries
    (event_id, subscription_id, batch_id, job_id, type, origin, happened_at, body)
select * from unnest(cast(:event_ids as bigint[]), cast(:subscription_ids as uuid[]),
    cast(:batch_ids as uuid[]), cast(:job_ids as uuid[]), cast(:types as text[]),
    cast(:origins as text[]), cast(:times as timestamptz[]),
    array(select jsonb_array_elements_text(cast(:bodies as jsonb))))
on conflict do nothing
""")


def add(session: Session, messages: Sequence[Message]) -> None:
    """Write deliveries, due now."""
    session.execute(
        _ADD,
        {
            "event_ids": [message.event.event_id for message in messages],
            "subscription_ids": [message.listener.subscription_id for message in messages],
            "batch_ids": [message.event.batch_id for message in messages],
            "job_ids": [message.event.job_id for message in messages],
            "types": [message.event.type for message in messages],
            "origins": [message.listener.origin for message in messages],
            "times": [message.event.at for message in messages],
            # One JSON array: psycopg would quote the elements of a text[] in Python.
            "bodies": json.dumps([message.body for message in messages], ensure_ascii=False),
        },
    )
