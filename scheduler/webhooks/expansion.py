"""The sender's duty to turn events into messages, each written once for each of its shapes."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy.orm import Session

from scheduler.ledger import batches, outbox, rows
from scheduler.ledger.batches import Progress
from scheduler.ledger.outbox import Listener, Message, Noted
from scheduler.ledger.rows import RowRecord
from scheduler.ledger.webhook_tables import Style
from scheduler.webhooks import envelope, fal

AT_ONCE = 500


def step(session: Session) -> int:
    """Turn some events into messages, and return how many events these were."""
    events = outbox.take(session, limit=AT_ONCE)
    listeners = outbox.listeners(session, events) if events else []
    if listeners:
        outbox.add(session, _messages(session, events, listeners))
    return len(events)


def _messages(
    session: Session, events: Sequence[Noted], listeners: Sequence[Listener]
) -> list[Message]:
    by_id = {event.event_id: event for event in events}
    shapes = {(listener.event_id, listener.style) for listener in listeners}
    wanted = [by_id[event_id] for event_id in {event_id for event_id, _ in shapes}]
    jobs = rows.named(session, [each.job_id for each in wanted if each.job_id is not None])
    standings = {
        batch_id: batches.progress(session, batch_id)
        for batch_id in {each.batch_id for each in wanted if each.job_id is None}
    }
    bodies = {
        (event_id, style): _body(by_id[event_id], style, jobs, standings)
        for event_id, style in shapes
    }
    return [
        Message(by_id[each.event_id], each, bodies[each.event_id, each.style]) for each in listeners
    ]


def _body(
    event: Noted,
    style: Style,
    jobs: Mapping[UUID, RowRecord],
    standings: Mapping[UUID, Progress],
) -> str:
    if event.job_id is None:
        return envelope.of_batch(event, standings[event.batch_id])
    shape = fal.of_job if style is Style.FAL else envelope.of_job
    return shape(event, jobs.get(event.job_id))
