"""Who wants to hear of what. Like `jobs`, nothing here commits."""

import re
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from scheduler.errors import EventUnknown, SubscriptionUnknown
from scheduler.guard import parse_url
from scheduler.ledger.webhook_tables import Style, Subscription, WebhookKey

JOB_ENDS = ("job.succeeded", "job.failed", "job.cancelled", "job.rejected")
BATCH_ENDS = ("batch.finished", "batch.reported")
EVENTS = (
    *JOB_ENDS,
    "batch.submitted",
    "batch.paused",
    "batch.resumed",
    "batch.cancelled",
    "batch.retried",
    "batch.unreadable",
    *BATCH_ENDS,
)
"""All types of events, in the order of a batch's life."""
SHORTEST = 6

_SUBSCRIBE = text("""
insert into subscriptions
    (id, owner, url, origin, style, events, job_id, batch_id, endpoint, prefix)
values (:id, :owner, :url, :origin, :style, :events, :job_id, :batch_id, :endpoint, :prefix)
on conflict (batch_id, url) where batch_id is not null
    do update set events = excluded.events, style = excluded.style
returning id
""")
# The job's last event is among the newest of its batch, or there is none yet.
_ALREADY = text("""
insert into outbox (event_id, type, batch_id, job_id, at)
select id, type, batch_id, job_id, at from events
where batch_id = (select batch_id from jobs where id = :job_id and ended_at is not null)
    and job_id = :job_id and type = any(:events)
order by id desc limit 1
on conflict do nothing
""")
# Deliveries are unique: whoever was told of it already is not told again.
_ALREADY_OF_BATCH = text("""
insert into outbox (event_id, type, batch_id, job_id, at)
select id, type, batch_id, job_id, at from (
    select * from events
    where batch_id = (select id from batches where id = :batch_id and ended_at is not null)
    order by id desc limit 10
) newest
where job_id is null and type = any(:events)
on conflict do nothing
""")


def subscribe(
    session: Session,
    *,
    url: str,
    style: Style = Style.OURS,
    events: Sequence[str] = (),
    job_id: UUID | None = None,
    batch_id: UUID | None = None,
    endpoint: str | None = None,
    prefix: str | None = None,
    owner: str = "",
) -> UUID:
    """Tell a URL of the events of one job, of one batch, or of all that fit, from now on.

    To be called in the transaction that makes the job or the batch, so that neither is without its
    subscriber for a moment. A job or a batch that has ended by then, in that transaction or before,
    is told of as well. The same URL for the same batch again only changes what it is told of.

    Args:
        session: The transaction.
        url: Where messages are sent to. Its spelling is checked here, its address at each delivery.
        style: The shape of the messages; `FAL` has one for the ends of jobs only.
        events: Types out of `EVENTS`; none for the ends of what it is about, jobs or batches.
        job_id: Only of this job.
        batch_id: Only of this batch and its jobs.
        endpoint: Only of jobs and batches with this endpoint.
        prefix: Only of jobs and batches whose source's address begins so.
        owner: Whose subscription it is.

    Returns:
        The subscription's id.

    Raises:
        UrlRefused: The URL is none, or oddly spelt.
        EventUnknown: One of `events` is none.
    """
    target = parse_url(url)
    wanted = _checked(events, style) or list(
        JOB_ENDS if job_id is not None or style is Style.FAL else BATCH_ENDS
    )
    made: UUID = session.execute(
        _SUBSCRIBE,
        {
            "id": uuid7(),
            "owner": owner,
            "url": str(target),
            "origin": target.origin,
            "style": str(style),
            "events": wanted,
            "job_id": job_id,
            "batch_id": batch_id,
            "endpoint": endpoint,
            "prefix": prefix,
        },
    ).scalar_one()
    if job_id is not None:
        session.execute(_ALREADY, {"job_id": job_id, "events": wanted})
    elif batch_id is not None:
        session.execute(_ALREADY_OF_BATCH, {"batch_id": batch_id, "events": wanted})
    return made


def _checked(events: Sequence[str], style: Style) -> list[str]:
    """Return the events without doubles.

    Raises:
        EventUnknown: One of them is none, or none that fal's shape has a place for.
    """
    known = JOB_ENDS if style is Style.FAL else EVENTS
    for event in events:
        if event not in known:
            reason = f"events: {event!r} is unknown; choose among {', '.join(known)}"
            raise EventUnknown(reason, field="events")
    return list(dict.fromkeys(events))


def has_any(session: Session, batch_id: UUID) -> bool:
    """Tell whether anybody is told of a batch by a subscription of its own."""
    found = session.scalar(
        select(Subscription.id).where(Subscription.batch_id == batch_id).limit(1)
    )
    return found is not None


def standing(session: Session) -> list[Subscription]:
    """Return the subscriptions that people look after: all but those of single jobs."""
    return list(
        session.scalars(
            select(Subscription).where(Subscription.job_id.is_(None)).order_by(Subscription.id)
        )
    )


_FIND = text("""
select id from subscriptions where replace(id::text, '-', '') like '%' || :piece order by id limit 2
""")


def find(session: Session, piece: str) -> Subscription:
    """Return the only subscription whose id is, or ends in, `piece`.

    Raises:
        SubscriptionUnknown: There is none or more than one, or `piece` is too short to tell.
    """
    digits = piece.strip().lower().replace("-", "")
    found: list[UUID] = []
    if re.fullmatch(rf"[0-9a-f]{{{SHORTEST},32}}", digits):
        found = list(session.scalars(_FIND, {"piece": digits}))
    if len(found) != 1:
        reason = (
            f"subscription: {piece!r} {'fits several' if found else 'is none'}; `enlarger webhooks"
            f" list` shows them, and the last {SHORTEST} or more characters of an id name one"
        )
        raise SubscriptionUnknown(reason, field="subscription")
    return session.get_one(Subscription, found[0])


def remove(session: Session, subscription_id: UUID) -> None:
    """Forget a subscription and its secrets; what is still due of it is not sent any more."""
    session.execute(delete(WebhookKey).where(WebhookKey.subscription_id == subscription_id))
    session.execute(delete(Subscription).where(Subscription.id == subscription_id))


_PAUSE = text("""
update subscriptions set state = 'paused', reason = :reason
where id = :id and state = 'active' returning id
""")


def pause(session: Session, subscription_id: UUID, reason: str) -> bool:
    """Hold a subscription's messages back until `resume`; tell whether it was active.

    What is due of it is set aside by the senders, as they come upon it.
    """
    return session.scalar(_PAUSE, {"id": subscription_id, "reason": reason}) is not None


_RESUME = text("""
with resumed as (
    update subscriptions
    set state = 'active', reason = null, failing_since = null, failures = 0
    where id = :id and state <> 'active' returning id, origin
)
update deliveries set due_at = clock_timestamp() from resumed
where deliveries.origin = resumed.origin and due_at = 'infinity' and deliveries.state = 'due'
    and subscription_id = resumed.id
""")


def resume(session: Session, subscription_id: UUID) -> int:
    """Tell a subscriber again, of what it missed as well; return how many messages that is."""
    return session.execute(_RESUME, {"id": subscription_id}).rowcount  # type: ignore[attr-defined,no-any-return]
