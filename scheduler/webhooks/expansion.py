"""The sender's duty to turn events into messages, each written once for each of its shapes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from scheduler.errors import SettingsInvalid
from scheduler.files.published import Publisher
from scheduler.files.room import NO_ROOM, FileRoom
from scheduler.ledger import batches, outbox, requests, rows
from scheduler.ledger.batches import Progress
from scheduler.ledger.deliveries import Taken
from scheduler.ledger.outbox import Listener, Message, Noted
from scheduler.ledger.rows import RowRecord
from scheduler.ledger.session import Ledger
from scheduler.ledger.webhook_tables import Style
from scheduler.settings import Settings
from scheduler.storage import open_storage
from scheduler.webhooks import envelope, fal
from scheduler.webhooks.lanes import FIRST_ROOM

log = structlog.get_logger()

AT_ONCE = 500
WORTH_A_STEP = 32
"""Events; for fewer, the statements of a step cost more than what it spares."""


@dataclass(frozen=True, kw_only=True)
class Expanded:
    """What came of some events: messages that this sender has taken, and how many others."""

    events: int
    taken: list[Taken]
    due: int


class Expansion:
    """Writes messages; results of requests get the public addresses that the API gives them."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._publisher: Publisher | None = None
        if settings.files is not None:
            storage = open_storage(settings)
            self._publisher = Publisher(ledger, storage, FileRoom(ledger, storage, settings))

    def step(self, rooms: Mapping[str, int], lease_s: float, session: Session) -> Expanded:
        """Turn some events into messages.

        Args:
            rooms: For each destination that is known, how many messages this sender begins to send
                as soon as the transaction has committed; 0 where older ones wait.
            lease_s: From now until somebody else may take those.
            session: The transaction.
        """
        count, found = outbox.take(session, limit=_limit(rooms))
        if not found:
            return Expanded(events=count, taken=[], due=0)
        at_once, later = _parted(self._messages(session, found), rooms)
        outbox.add(session, later)
        taken = outbox.add_taken(session, at_once, lease_s=lease_s)
        return Expanded(events=count, taken=taken, due=len(later))

    def _messages(self, session: Session, found: Sequence[tuple[Noted, Listener]]) -> list[Message]:
        by_id = {event.event_id: event for event, _ in found}
        shapes = {(event.event_id, listener.style) for event, listener in found}
        facts = _Facts(session, by_id, shapes)
        bodies = {
            (event_id, style): self._body(by_id[event_id], style, facts)
            for event_id, style in shapes
        }
        return [
            Message(event, listener, bodies[event.event_id, listener.style])
            for event, listener in found
        ]

    def _body(self, event: Noted, style: Style, facts: "_Facts") -> str:
        if event.job_id is None:
            return envelope.of_batch(event, facts.batches[event.batch_id])
        row = facts.jobs.get(event.job_id)
        try:
            return self._of_job(event, style, row, facts)
        except Exception as exc:
            # A bug in one message must not stop all others; this one says what is certain.
            log.error("message.crashed", job=str(event.job_id), exc_info=exc)
            return self._of_job(event, style, None, facts)

    def _of_job(self, event: Noted, style: Style, row: RowRecord | None, facts: "_Facts") -> str:
        if style is Style.FAL:
            return fal.of_job(event, row, partial(self._publish, facts.bases))
        return envelope.of_job(event, row)

    def _publish(self, bases: Mapping[UUID, str], row: RowRecord) -> dict[str, Any]:
        """Return a result's body as the API answers with it, or as it is where no request was.

        Raises:
            SettingsInvalid: This process does not know where files of requests lie.
            ResultForgotten: The request asked for that.
            StorageUnavailable: An image that is to be in the body can't be read.
        """
        outcome: dict[str, Any] = row.outcome or {}
        if row.id not in bases:
            body: dict[str, Any] = outcome["body"]
            return body
        if self._publisher is None:
            raise SettingsInvalid(NO_ROOM, field="files")
        return self._publisher.body(row.id, outcome, base=bases[row.id])


def _limit(rooms: Mapping[str, int]) -> int:
    """Return how many events to take: as many as a destination has room for, if that are some.

    What a sender begins at once is written once; what there is no room for is written, taken and
    read once more.
    """
    room = max(rooms.values(), default=FIRST_ROOM)
    return min(room, AT_ONCE) if room >= WORTH_A_STEP else AT_ONCE


def _parted(
    messages: Sequence[Message], rooms: Mapping[str, int]
) -> tuple[list[Message], list[Message]]:
    """Part messages into those that there is room for, and all others."""
    left = dict(rooms)
    at_once: list[Message] = []
    later: list[Message] = []
    for message in messages:
        room = left.get(message.listener.origin, FIRST_ROOM) if message.listener.active else 0
        if room > 0:
            left[message.listener.origin] = room - 1
        (at_once if room > 0 else later).append(message)
    return at_once, later


class _Facts:
    """What the messages of some events are made of."""

    def __init__(
        self, session: Session, events: Mapping[int, Noted], shapes: Collection[tuple[int, Style]]
    ) -> None:
        ids = [each.job_id for each in events.values() if each.job_id is not None]
        asked = any(style is Style.FAL for _, style in shapes)
        self.jobs: Mapping[UUID, RowRecord] = rows.named(session, ids) if ids else {}
        self.bases: Mapping[UUID, str] = requests.bases(session, ids) if asked else {}
        self.batches: Mapping[UUID, Progress] = {
            batch_id: batches.progress(session, batch_id)
            for batch_id in {each.batch_id for each in events.values() if each.job_id is None}
        }
