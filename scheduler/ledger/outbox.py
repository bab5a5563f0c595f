"""How events become deliveries: out of the outbox, to every subscription that they fit.

Like `jobs`, nothing here commits. All of it happens in one transaction, and a delivery is unique by
event and subscription: whatever dies when, each subscriber has each message once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler.ledger.deliveries import Key, Taken
from scheduler.ledger.webhook_tables import DeliveryState, Style

STYLES = {str(each): each for each in Style}


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

    subscription_id: UUID
    origin: str
    url: str
    style: Style
    owner: str
    active: bool


class Message(NamedTuple):
    """What one subscription is to be told; `body` is JSON."""

    event: Noted
    listener: Listener
    body: str


# Whom an event may concern is found by three small indexes; a standing subscription of an owner
# hears only of that owner's batches.
_TAKE = text("""
with taken as (
    delete from outbox where event_id in (
        select event_id from outbox order by event_id limit :limit for update skip locked
    ) returning event_id, type, batch_id, job_id, at
), described as (
    select taken.*, batches.owner, coalesce(jobs.endpoint, batches.endpoint) as endpoint,
        coalesce(jobs.source, batches.source) as source
    from taken join batches on batches.id = taken.batch_id left join jobs on jobs.id = taken.job_id
)
select event_id, type, described.batch_id, described.job_id, at, fit.id as subscription_id, origin,
    url, style, fit.owner, fit.state = 'active' as active
from described left join lateral (
    select * from subscriptions
    where job_id is null and batch_id is null and owner in ('', described.owner)
    union all select * from subscriptions
        where subscriptions.batch_id = described.batch_id and subscriptions.job_id is null
    union all select * from subscriptions where subscriptions.job_id = described.job_id
) fit on fit.state <> 'disabled' and described.type = any(fit.events)
    and (fit.endpoint is null or fit.endpoint = described.endpoint)
    and (fit.prefix is null or starts_with(described.source, fit.prefix))
order by event_id
""")


def take(session: Session, *, limit: int) -> tuple[int, list[tuple[Noted, Listener]]]:
    """Take the oldest events out; they are back if the transaction fails.

    Returns:
        How many events were taken, and each with everybody who is to hear of it.
    """
    rows = session.execute(_TAKE, {"limit": limit}).all()
    events = {
        row.event_id: Noted(
            event_id=row.event_id,
            type=row.type,
            batch_id=row.batch_id,
            job_id=row.job_id,
            at=row.at,
        )
        for row in rows
    }
    found = [
        (
            events[row.event_id],
            Listener(
                row.subscription_id, row.origin, row.url, STYLES[row.style], row.owner, row.active
            ),
        )
        for row in rows
        if row.subscription_id is not None
    ]
    return len(events), found


# An event comes here once more when somebody subscribes to what is over: those whom it was told to
# have their deliveries. It answers with these; there are hardly ever any.
_ADD = text("""
with given as (
    select * from jsonb_to_recordset(cast(:messages as jsonb)) as g(event_id bigint,
        subscription_id uuid, batch_id uuid, job_id uuid, type text, origin text, at timestamptz,
        body text)
), made as (
    insert into deliveries (event_id, subscription_id, batch_id, job_id, type, origin, happened_at,
        body, state, epoch, due_at)
    select event_id, subscription_id, batch_id, job_id, type, origin, at, body, :state, :epoch,
        clock_timestamp() + make_interval(secs => :lease_s)
    from given on conflict do nothing
    returning event_id, subscription_id
)
select event_id, subscription_id from given except select event_id, subscription_id from made
""")


def add(session: Session, messages: Sequence[Message]) -> None:
    """Write deliveries, due now."""
    _add(session, messages, state=DeliveryState.DUE, epoch=0, lease_s=0.0)


def add_taken(session: Session, messages: Sequence[Message], *, lease_s: float) -> list[Taken]:
    """Write deliveries that this sender holds from the first, and return those that are new.

    Whoever sends a message at once need not look for it first: this spares it a transition, and the
    reading of what was just written.

    Args:
        session: The transaction; nothing is to be sent before it has committed.
        messages: Of active subscriptions.
        lease_s: From now until somebody else may take them.
    """
    known = _add(session, messages, state=DeliveryState.SENDING, epoch=1, lease_s=lease_s)
    return [
        Taken(
            key=Key(event.batch_id, event.event_id, listener.subscription_id, 1),
            job_id=event.job_id,
            origin=listener.origin,
            url=listener.url,
            style=listener.style,
            owner=listener.owner,
            failures=0,
            body=body,
        )
        for event, listener, body in messages
        if not known or (event.event_id, listener.subscription_id) not in known
    ]


def _add(
    session: Session,
    messages: Sequence[Message],
    *,
    state: DeliveryState,
    epoch: int,
    lease_s: float,
) -> set[tuple[int, UUID]]:
    """Write deliveries; return the event and subscription of those that were there before."""
    if not messages:
        return set()
    # One document: psycopg would quote the elements of arrays in Python, one by one.
    given = [
        {
            **vars(message.event),
            "subscription_id": message.listener.subscription_id,
            "origin": message.listener.origin,
            "body": message.body,
        }
        for message in messages
    ]
    document = to_json(given).decode()
    values = {"messages": document, "state": state, "epoch": epoch, "lease_s": lease_s}
    return {(event_id, owner) for event_id, owner in session.execute(_ADD, values)}
