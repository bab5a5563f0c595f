"""Rules, and what they have taken: the few transitions and questions.

Like `jobs`, nothing here commits.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from scheduler.errors import TriggerUnknown
from scheduler.ledger.session import database_time
from scheduler.ledger.trigger_tables import DeadEvent, HeldArrival, Trigger

_CHANGES = 0x656E6C65  # the advisory lock of those who change rules; any constant serves


def every(session: Session) -> list[Trigger]:
    """Return the rules, by name."""
    return list(
        session.scalars(select(Trigger).where(Trigger.removed_at.is_(None)).order_by(Trigger.name))
    )


def find(session: Session, name: str) -> Trigger:
    """Return the rule of a name.

    Raises:
        TriggerUnknown: There is none.
    """
    found = named(session, name)
    if found is None:
        reason = f"name: there is no rule {name!r}; `enlarger triggers list` names them"
        raise TriggerUnknown(reason, field="name")
    return found


def named(session: Session, name: str) -> Trigger | None:
    """Return the rule of a name, if there is one."""
    return session.scalar(select(Trigger).where(Trigger.name == name, Trigger.removed_at.is_(None)))


def pause(session: Session, name: str, *, paused: bool) -> bool:
    """Let a rule's arrivals wait, or go on with them; tell whether that is a change.

    Raises:
        TriggerUnknown: There is no such rule.
    """
    found = find(session, name)
    changed = found.paused != paused
    found.paused = paused
    return changed


def remove(session: Session, name: str) -> UUID:
    """Let a rule take nothing more, and return its id; what it has made runs on.

    Raises:
        TriggerUnknown: There is no such rule.
    """
    found = find(session, name)
    found.removed_at = database_time(session)
    return found.id


_COUNT = text("""
select cast(options ->> 'trigger' as uuid) as id, sum(total + coalesce(fresh, 0)) as jobs
from batches left join lateral (
    select sum(batch_deltas.total) as fresh from batch_deltas where batch_id = batches.id
) deltas on true
where options ? 'trigger' group by 1
""")


def counts(session: Session) -> dict[UUID, int]:
    """Return how many jobs each rule has made, from its batches' counters."""
    return {row.id: int(row.jobs) for row in session.execute(_COUNT)}


def lock(session: Session) -> None:
    """Wait for whoever changes rules: two that are checked at once could make a loop together."""
    session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _CHANGES})


# In the order of the ids, so that two transactions that take the same objects don't block each
# other: the second waits for the first, and finds them taken if that commits.
_TAKE = text("""
insert into taken_objects (trigger_id, object)
select :trigger_id, id from unnest(cast(:objects as uuid[])) as given(id) order by id
on conflict do nothing
returning object
""")


def take(session: Session, trigger_id: UUID, objects: Iterable[UUID]) -> set[UUID]:
    """Note that a rule takes these objects; return those that it had not taken before."""
    return set(session.scalars(_TAKE, {"trigger_id": trigger_id, "objects": list(objects)}))


_HOLD = text("""
insert into held_arrivals (trigger_id, arrival)
select :trigger_id, value from jsonb_array_elements(cast(:arrivals as jsonb))
""")


def hold(session: Session, trigger_id: UUID, arrivals: Sequence[Mapping[str, Any]]) -> None:
    """Keep arrivals of a paused rule until it goes on."""
    session.execute(_HOLD, {"trigger_id": trigger_id, "arrivals": json.dumps(arrivals)})


_RELEASED = text("""
select held_arrivals.id from held_arrivals join triggers on triggers.id = trigger_id
where not paused and removed_at is null and trigger_id = (
    select trigger_id from held_arrivals join triggers on triggers.id = trigger_id
    where not paused and removed_at is null limit 1
)
order by held_arrivals.id limit :limit for update of held_arrivals skip locked
""")


def release(session: Session, *, limit: int) -> list[HeldArrival]:
    """Delete and return what is held for one rule that is not paused any more, oldest first."""
    ids = list(session.scalars(_RELEASED, {"limit": limit}))
    gone = delete(HeldArrival).where(HeldArrival.id.in_(ids)).returning(HeldArrival)
    return sorted(session.scalars(gone), key=lambda each: each.id)


def bury(session: Session, *, source: str, reason: str, body: str) -> None:
    """Keep a message that could not be understood."""
    session.add(DeadEvent(source=source, reason=reason, body=body))
    session.flush()


def dead(session: Session, *, limit: int) -> list[DeadEvent]:
    """Return the newest messages that could not be understood."""
    return list(session.scalars(select(DeadEvent).order_by(DeadEvent.id.desc()).limit(limit)))


def exhume(session: Session, ids: Sequence[int] | None = None) -> list[DeadEvent]:
    """Delete and return such messages; all of them if `ids` is not given."""
    chosen = delete(DeadEvent).returning(DeadEvent)
    if ids is not None:
        chosen = chosen.where(DeadEvent.id.in_(ids))
    return list(session.scalars(chosen))


_FORGET_DEAD = text("""
delete from dead_events where id in (
    select id from dead_events where at < :before order by id limit :limit
)
""")


def forget_dead(session: Session, *, before: datetime, limit: int) -> int:
    """Delete up to `limit` messages that nobody understood before a moment; count them."""
    return _rows(session, _FORGET_DEAD, {"before": before, "limit": limit})


_FORGET = text("""
delete from taken_objects where ctid = any(array(
    select ctid from taken_objects where taken_at < :before limit :limit
))
""")
_FORGET_REMOVED = text("""
with gone as (select id from triggers where removed_at is not null limit 1),
arrivals as (delete from held_arrivals where trigger_id in (select id from gone))
delete from taken_objects where ctid = any(array(
    select taken_objects.ctid from taken_objects join gone on gone.id = trigger_id limit :limit
))
""")
_BURY_REMOVED = text("""
delete from triggers where removed_at is not null
    and not exists (select from taken_objects where trigger_id = triggers.id)
""")


def forget(session: Session, *, before: datetime | None, limit: int) -> int:
    """Delete a piece of what removed rules have left, and of what was taken before a moment.

    Returns:
        How many entries went; at most `limit` of each kind.
    """
    gone = _rows(session, _FORGET_REMOVED, {"limit": limit})
    session.execute(_BURY_REMOVED)
    if before is not None:
        gone += _rows(session, _FORGET, {"before": before, "limit": limit})
    return gone


def _rows(session: Session, statement: Any, parameters: Mapping[str, Any]) -> int:  # noqa: ANN401
    return session.connection().execute(statement, parameters).rowcount
