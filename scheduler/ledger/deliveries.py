"""The transitions of deliveries: due -> sending -> delivered | dead, and back.

Like `jobs`, nothing here commits. A sender owns a row until `due_at`, and settles it under the
epoch that it was taken with; whoever comes too late changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler.ledger.webhook_tables import DeliveryState, Style


class Key(NamedTuple):
    """What names a delivery, and the epoch that its holder must match."""

    batch_id: UUID
    event_id: int
    subscription_id: UUID
    epoch: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """A delivery that this sender now holds; everything that sending it takes."""

    key: Key
    job_id: UUID | None
    origin: str
    url: str
    style: Style
    owner: str
    failures: int
    body: str


# From origin to origin by the index: the cost grows with the destinations, not with their backlog.
_WAITING = text("""
with recursive heads as (
    (select origin, due_at from deliveries where state in ('due', 'sending')
        order by origin, due_at limit 1)
    union all
    select next.* from heads cross join lateral (
        select origin, due_at from deliveries
        where state in ('due', 'sending') and origin > heads.origin
        order by origin, due_at limit 1
    ) next
)
select origin from heads where due_at <= clock_timestamp()
""")


def waiting(session: Session) -> list[str]:
    """Return the destinations that have something due."""
    return list(session.scalars(_WAITING))


# A subscription's state is looked up here, once for each row: pausing or removing one with a
# million messages changes one row, and they are set aside as senders come upon them.
_TAKE = text("""
with chosen as (
    select found.*
    from unnest(cast(:origins as text[]), cast(:rooms as int[])) as asked(origin, room)
    cross join lateral (
        select batch_id, event_id, subscription_id from deliveries
        where deliveries.origin = asked.origin and state in ('due', 'sending')
            and due_at <= clock_timestamp()
        order by due_at limit asked.room
        for update skip locked
    ) found
)
update deliveries set epoch = deliveries.epoch + 1,
    state = case subscriptions.state when 'active' then 'sending' when 'paused' then 'due'
        else 'dead' end,
    due_at = case subscriptions.state
        when 'active' then clock_timestamp() + make_interval(secs => :lease_s)
        else 'infinity' end,
    ended_at = case when coalesce(subscriptions.state, 'disabled') = 'disabled'
        then clock_timestamp() end,
    answer = case when subscriptions.id is null then 'the subscription was removed'
        when subscriptions.state = 'disabled' then 'the subscription is disabled'
        else deliveries.answer end
from chosen left join subscriptions on subscriptions.id = chosen.subscription_id
where deliveries.batch_id = chosen.batch_id and deliveries.event_id = chosen.event_id
    and deliveries.subscription_id = chosen.subscription_id
returning deliveries.batch_id, deliveries.event_id, deliveries.subscription_id, deliveries.epoch,
    deliveries.state, deliveries.job_id, deliveries.origin, subscriptions.url, subscriptions.style,
    subscriptions.owner, deliveries.failures,
    case when deliveries.state = 'sending' then body end as body
""")


def take(session: Session, rooms: Mapping[str, int], *, lease_s: float) -> tuple[list[Taken], int]:
    """Move `due -> sending`, the longest due first, and what a dead sender had as well.

    Args:
        session: The transaction.
        rooms: How many are wanted for each destination.
        lease_s: From now until somebody else may take them.

    Returns:
        What was taken, and how many rows were set aside instead: their subscription is paused,
        disabled or gone.
    """
    rows = session.execute(
        _TAKE, {"origins": list(rooms), "rooms": list(rooms.values()), "lease_s": lease_s}
    ).all()
    taken = [
        Taken(
            key=Key(row[0], row[1], row[2], row[3]),
            job_id=row.job_id,
            origin=row.origin,
            url=row.url,
            style=Style(row.style),
            owner=row.owner,
            failures=row.failures,
            body=row.body,
        )
        for row in rows
        if row.state == DeliveryState.SENDING
    ]
    return taken, len(rows) - len(taken)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settled:
    """What came of a try.

    Attributes:
        key: Which delivery, as it was taken.
        origin: Its destination.
        state: `DUE` to be tried again after `wait_s`, else `DELIVERED` or `DEAD`.
        failures: Failed tries, this one included.
        tried: Whether a request was sent; not for those of a destination that is known to be down.
        status: The HTTP status, if there was an answer.
        answer: The beginning of the answer, or what went wrong.
        wait_s: Seconds until it is due again.
        gone: The consumer answered 410.
    """

    key: Key
    origin: str
    state: DeliveryState
    failures: int
    tried: bool
    status: int | None
    answer: str
    wait_s: float = 0.0
    gone: bool = False


# The keys of deliveries are one document: psycopg would quote the elements of arrays in Python, one
# by one.
_SETTLE = text("""
update deliveries set state = given.state, failures = given.failures, status = given.status,
    answer = given.answer, tried_at = clock_timestamp(),
    due_at = clock_timestamp() + make_interval(secs => given.wait_s),
    ended_at = case when given.state <> 'due' then clock_timestamp() end
from jsonb_to_recordset(cast(:settled as jsonb)) as given(batch_id uuid, event_id bigint,
    subscription_id uuid, epoch int, state text, failures int, status int, answer text,
    wait_s double precision)
where deliveries.batch_id = given.batch_id and deliveries.event_id = given.event_id
    and deliveries.subscription_id = given.subscription_id and deliveries.epoch = given.epoch
    and deliveries.state = 'sending'
""")


def settle(session: Session, settled: Sequence[Settled]) -> None:
    """Write what came of tries: `sending -> delivered | dead`, or `due` once more.

    What was taken by somebody else meanwhile stays theirs: it is sent twice, under the same id.
    """
    given = [
        {
            **_named(each.key),
            "state": each.state,
            "failures": each.failures,
            "status": each.status,
            "answer": each.answer,
            "wait_s": each.wait_s,
        }
        for each in settled
    ]
    session.execute(_SETTLE, {"settled": to_json(given).decode()})


def _named(key: Key) -> dict[str, object]:
    return {
        "batch_id": key.batch_id,
        "event_id": key.event_id,
        "subscription_id": key.subscription_id,
        "epoch": key.epoch,
    }


_RELEASE = text("""
update deliveries set state = 'due', due_at = clock_timestamp()
from jsonb_to_recordset(cast(:keys as jsonb))
    as given(batch_id uuid, event_id bigint, subscription_id uuid, epoch int)
where deliveries.batch_id = given.batch_id and deliveries.event_id = given.event_id
    and deliveries.subscription_id = given.subscription_id and deliveries.epoch = given.epoch
    and state = 'sending'
""")


def release(session: Session, keys: Sequence[Key]) -> None:
    """Give back what was taken and not sent; it is due at once, and has not failed."""
    session.execute(_RELEASE, {"keys": to_json([_named(key) for key in keys]).decode()})
