"""From arrivals to jobs: exactly one for each rule and version of an object.

That a rule took an object is noted in the transaction that appends the job. Whoever sees the same
object again, in another message or in a listing, waits for that transaction, and then finds it.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from models import catalog
from models.errors import RequestError
from models.schema import Arguments
from scheduler import arguments
from scheduler.ledger import feeds, subscriptions, triggers
from scheduler.ledger.feeds import Feed
from scheduler.ledger.intake import NewJob
from scheduler.ledger.session import Ledger
from scheduler.ledger.trigger_tables import HeldArrival, Trigger
from scheduler.triggers import filters
from scheduler.triggers.about import about, options_of
from scheduler.triggers.arrival import Arrival
from scheduler.triggers.destination import Target, target_of

HELD_AT_ONCE = 500


def receive(session: Session, arrivals: Iterable[Arrival]) -> int:
    """Give each arrival to every rule that means it; return how many jobs that made.

    What arrives while its rule is paused is kept until the rule goes on.
    """
    some = list(arrivals)
    if not some:
        return 0
    return sum(_give(session, trigger, some) for trigger in triggers.every(session))


def _give(session: Session, trigger: Trigger, arrivals: Iterable[Arrival]) -> int:
    meant = [arrival for arrival in arrivals if filters.means(trigger, arrival)]
    if meant and trigger.paused:
        triggers.hold(session, trigger.id, [_kept(arrival) for arrival in meant])
        return 0
    return _append(session, trigger, meant)


def release(ledger: Ledger) -> bool:
    """Make jobs of a piece of what came while its rule was paused; return whether there was any.

    Raises:
        LedgerUnavailable: Nothing happened; try again.
    """
    with ledger.begin() as session:
        held = triggers.release(session, limit=HELD_AT_ONCE)
        if held:
            trigger = session.get_one(Trigger, held[0].trigger_id)
            _append(session, trigger, [_arrival(each) for each in held])
    return bool(held)


def _kept(arrival: Arrival) -> Mapping[str, Any]:
    return {**vars(arrival), "at": arrival.at.isoformat()}


def _arrival(held: HeldArrival) -> Arrival:
    return Arrival(**{**held.arrival, "at": datetime.fromisoformat(held.arrival["at"])})


def _append(session: Session, trigger: Trigger, arrivals: Iterable[Arrival]) -> int:
    by_identity = {arrival.identity: arrival for arrival in arrivals}
    if not by_identity:
        return 0
    fresh = triggers.take(session, trigger.id, by_identity)
    new = [arrival for identity, arrival in by_identity.items() if identity in fresh]
    if new:
        folder, rows = _jobs(trigger, new)
        feed = _feed(trigger, folder)
        if trigger.webhook is not None:
            _subscribe(session, trigger, trigger.webhook, feeds.current(session, feed))
        feeds.append(session, feed, rows)
    return len(new)


def _subscribe(session: Session, trigger: Trigger, url: str, batch_id: UUID) -> None:
    """See to it that a rule's webhook hears of the jobs of its feed's open batch."""
    if not subscriptions.has_any(session, batch_id):
        subscriptions.subscribe(
            session,
            url=url,
            events=subscriptions.JOB_ENDS,
            batch_id=batch_id,
            owner=trigger.owner,
        )


def _feed(trigger: Trigger, folder: str) -> Feed:
    return Feed(
        name=f"s3://{trigger.bucket}/{trigger.prefix}",
        endpoint=trigger.endpoint,
        destination=folder,
        owner=trigger.owner,
        priority=trigger.priority,
        options=options_of(trigger),
    )


def _jobs(trigger: Trigger, arrivals: Sequence[Arrival]) -> tuple[str, list[NewJob]]:
    """Return the folder for the results, and a job for each arrival.

    A job that can't be done is rejected, with the reason: all of them, where the rule was made for
    an endpoint that is not there any more.
    """
    try:
        target = target_of(trigger)
        checked = arguments.checked(trigger.endpoint, trigger.arguments)
    except RequestError as exc:
        return trigger.destination, [_rejected(trigger, each, exc) for each in arrivals]
    return target.template.folder, [_job(trigger, target, checked, each) for each in arrivals]


def _job(trigger: Trigger, target: Target, checked: Arguments, arrival: Arrival) -> NewJob:
    seed = checked.get("seed")
    try:
        destination = target.address(arrival)
    except RequestError as exc:
        return _rejected(trigger, arrival, exc)
    return NewJob(
        line=0,
        pipeline=catalog.find(trigger.endpoint).pipeline_for(checked),
        endpoint=trigger.endpoint,
        source=arrival.address,
        source_version=target.version(arrival),
        destination=destination,
        custom_id=None,
        arguments=json.dumps(checked),
        passthrough=json.dumps(about(trigger, arrival)),
        seed=seed if seed is not None else arguments.draw_seed(),
    )


def _rejected(trigger: Trigger, arrival: Arrival, exc: RequestError) -> NewJob:
    error = {"code": exc.code, "kind": str(exc.kind), "field": exc.field, "message": str(exc)}
    return NewJob(
        line=0,
        pipeline=trigger.endpoint,
        endpoint=trigger.endpoint,
        source=arrival.address,
        source_version=arrival.version,
        destination=None,
        custom_id=None,
        arguments=json.dumps(trigger.arguments),
        passthrough=json.dumps(about(trigger, arrival)),
        seed=None,
        error=json.dumps(error),
    )
