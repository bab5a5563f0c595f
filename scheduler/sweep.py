"""From Redis back to the ledger: jobs whose worker died, and jobs whose message was lost."""

import json
import time
from collections.abc import Mapping
from datetime import datetime

import redis
import structlog
from sqlalchemy.orm import Session

from scheduler import broker
from scheduler.ledger import fleet, jobs, lapses, queueing
from scheduler.ledger.jobs import Ending, Ticket
from scheduler.ledger.queueing import Listed
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings

log = structlog.get_logger()


class Sweeper:
    """Puts back what was lost. Its memory, what was missing at the last look, is only a hint."""

    def __init__(
        self, ledger: Ledger, client: redis.Redis, settings: Settings, *, mercy_s: float = 0.0
    ) -> None:
        """Sweep nothing yet.

        Args:
            ledger: Where jobs are put back.
            client: Redis.
            settings: Of the system.
            mercy_s: For how long, from now on, a silent worker is left alone.
        """
        self._lapses_from = time.monotonic() + mercy_s
        self._ledger = ledger
        self._client = client
        self._settings = settings
        self._missing: dict[Ticket, datetime] = {}

    def step(self, now: datetime) -> None:
        """Sweep once.

        Args:
            now: The database's time.

        Raises:
            LedgerUnavailable: Nothing happened.
            BrokerUnavailable: The lapsed leases were swept, the messages not.
        """
        with self._ledger.begin() as session:
            if time.monotonic() >= self._lapses_from:
                lapse(session, now, self._settings)
            orphans = lapses.unqueue_orphans(session)
            gone = fleet.lately_stopped(session)
        if orphans:
            log.warning("messages.orphaned", jobs=len(orphans))
        forgotten = broker.flushed(self._client, self._settings)
        self._missing = self._sweep_messages(forgotten=forgotten)
        broker.forget_workers(self._client, self._settings, gone)

    def _sweep_messages(self, *, forgotten: bool) -> dict[Ticket, datetime]:
        """Put lost messages' jobs back and return those that were missing for the first time."""
        with self._ledger.begin() as session:
            queued = queueing.queued(session)
            death = fleet.last_death(session)
        if not queued:
            return {}
        queues = {broker.queue_of(each.pipeline, each.worker_id) for each in queued.values()}
        known = broker.presence(self._client, self._settings, queues)
        missing = {
            ticket: each.queued_at
            for ticket, each in queued.items()
            if ticket not in known.listed and ticket not in known.unacked
        }
        # One look may fall into the blink between a worker's pop and its note of it; two can't,
        # but after a flush there is nothing to wait for.
        lost = [t for t, since in missing.items() if forgotten or self._missing.get(t) == since]
        self._put_back(lost, held_by_nobody(queued, known, death), death)
        return missing

    def _put_back(self, lost: list[Ticket], orphans: list[Ticket], death: datetime | None) -> None:
        if not lost and not orphans:
            return
        with self._ledger.begin() as session:
            back = queueing.unqueue(session, lost) | queueing.unqueue(
                session, orphans, before=death
            )
        if back:
            log.warning("messages.lost", jobs=len(back))


def held_by_nobody(
    queued: Mapping[Ticket, Listed], known: broker.Presence, death: datetime | None
) -> list[Ticket]:
    """Name jobs whose message a worker took, from a pipeline's queue, that may have died since.

    Nobody knows which worker took such a message, and the moment that Redis has for it is by the
    worker's clock. So only the ledger's clock is asked: whatever was queued before the last death
    is put back, once. If a living worker has it after all, the second message wins nothing.
    """
    return [
        ticket
        for ticket, each in queued.items()
        if death is not None
        and each.queued_at < death
        and each.worker_id is None
        and ticket in known.unacked
        and ticket not in known.listed
    ]


def lapse(session: Session, now: datetime, settings: Settings) -> None:
    """Put jobs of silent workers back, fail those whose budget that used up, bury the workers."""
    back = lapses.put_back(session, now=now, max_failures=settings.max_failures)
    gone = lapses.exhausted(session, now=now, max_failures=settings.max_failures)
    endings = [
        Ending(ticket=ticket, state=JobState.FAILED, error=json.dumps(_lapse_error()))
        for ticket in gone
    ]
    jobs.finish(session, endings)
    fleet.bury(session, now=now)
    if back or gone:
        log.warning("leases.lapsed", back=len(back), failed=len(gone))


def _lapse_error() -> dict[str, str]:
    return {
        "code": "worker_lost",
        "kind": "world",
        "message": "its worker died or fell silent while it ran, at the last of its tries as well: "
        "the image or the endpoint may crash the process",
    }
