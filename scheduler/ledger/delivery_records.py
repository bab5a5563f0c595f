"""Deliveries as people see them: listed, counted, sent once more. Nothing here commits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler.ledger.webhook_tables import DeliveryState

COUNTED_AT_MOST = 10_000


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Some of the deliveries: those that fit all that is given; times are those of the events."""

    event_id: int | None = None
    batch_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None
    subscription_id: UUID | None = None
    states: Sequence[DeliveryState] = tuple(DeliveryState)

    @property
    def parameters(self) -> dict[str, object]:
        """What `_CHOSEN` is given."""
        return {**vars(self), "states": [str(state) for state in self.states]}


# An event's batch is looked up, as deliveries are found by it.
_CHOSEN = """
deliveries.state = any(:states)
    and (cast(:event_id as bigint) is null or event_id = :event_id and deliveries.batch_id
        in (select events.batch_id from events where events.id = :event_id))
    and (cast(:batch_id as uuid) is null or deliveries.batch_id = :batch_id)
    and (cast(:since as timestamptz) is null or happened_at >= :since)
    and (cast(:until as timestamptz) is null or happened_at < :until)
    and (cast(:subscription_id as uuid) is null or subscription_id = :subscription_id)
"""
_REPLAY = text(f"""
update deliveries set state = 'due', due_at = clock_timestamp(), failures = 0, ended_at = null
where {_CHOSEN}
""")  # noqa: S608 - made of constants
# Psycopg has no word for infinity, which is when those of a paused subscription are due.
_LIST = text(f"""
select event_id, type, deliveries.batch_id, deliveries.job_id, subscription_id, url,
    deliveries.state, deliveries.failures, happened_at, nullif(due_at, 'infinity') as due_at,
    tried_at, ended_at, status, answer
from deliveries left join subscriptions on subscriptions.id = deliveries.subscription_id
where {_CHOSEN}
order by deliveries.batch_id desc, event_id desc, subscription_id limit :limit
""")  # noqa: S608 - made of constants


@dataclass(frozen=True, kw_only=True)
class Record:
    """A delivery: its last try, and what comes next.

    `due_at` is None where its subscription is paused; `url` where it was removed.
    """

    event_id: int
    type: str
    batch_id: UUID
    job_id: UUID | None
    subscription_id: UUID
    url: str | None
    state: DeliveryState
    failures: int
    happened_at: datetime
    due_at: datetime | None
    tried_at: datetime | None
    ended_at: datetime | None
    status: int | None
    answer: str | None


def listed(session: Session, choice: Choice, *, limit: int) -> list[Record]:
    """Return the chosen deliveries, those of the newest batches first."""
    rows = session.execute(_LIST, {**choice.parameters, "limit": limit})
    return [Record(**{**row._mapping, "state": DeliveryState(row.state)}) for row in rows]


def replay(session: Session, choice: Choice) -> int:
    """Send the chosen messages once more, under the same ids and with the same bytes; count them.

    Each starts its schedule anew.
    """
    return session.execute(_REPLAY, choice.parameters).rowcount  # type: ignore[attr-defined,no-any-return]


_COUNTS = text("""
select
    (select count(*) from (select from outbox limit :most) o) as noted,
    (select count(*) from (select from deliveries where state in ('due', 'sending')
        and due_at < 'infinity' limit :most) d) as undelivered,
    (select count(*) from (select from deliveries where state in ('due', 'sending')
        and due_at = 'infinity' limit :most) p) as paused,
    (select count(*) from (select from deliveries where state = 'dead' limit :most) x) as dead,
    (select coalesce(sum(delivered), 0) from delivery_rates
        where hour > now() - interval '24 hours') as delivered,
    extract(epoch from now() - least(
        (select min(at) from (select at from outbox order by event_id limit 1) o),
        (select happened_at from deliveries where state in ('due', 'sending')
            and due_at < 'infinity' order by happened_at limit 1))) as oldest_s
""")


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How many messages stand where, each counted up to `COUNTED_AT_MOST`.

    Attributes:
        noted: Events that have not become messages yet.
        undelivered: Due, waiting for their next try, or being sent.
        paused: Kept for subscriptions that are paused.
        dead: Given up.
        delivered: Within the last 24 hours; exact.
        oldest_s: The age of the oldest one noted or undelivered; None where there is none.
    """

    noted: int
    undelivered: int
    paused: int
    dead: int
    delivered: int
    oldest_s: float | None


def counts(session: Session) -> Counts:
    """Count messages, at a cost that does not grow with them."""
    row = session.execute(_COUNTS, {"most": COUNTED_AT_MOST}).one()
    found = {name: int(row._mapping[name]) for name in Counts.__annotations__ if name != "oldest_s"}
    return Counts(**found, oldest_s=None if row.oldest_s is None else float(row.oldest_s))


_UNTRIED = text("""
select exists (
    select from outbox where batch_id = any(:batch_ids)
) or exists (
    select from deliveries where batch_id = any(:batch_ids)
        and state in ('due', 'sending') and failures = 0 and due_at < 'infinity'
)
""")


def untried(session: Session, batch_ids: Sequence[UUID]) -> bool:
    """Tell whether a message of these batches has not been tried once."""
    return bool(session.scalar(_UNTRIED, {"batch_ids": list(batch_ids)}))
