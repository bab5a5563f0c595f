"""Writes the report of every batch that has ended, and keeps trying while the store is unwell."""

import time
from uuid import UUID

import structlog

from models.errors import RequestError, WorldError
from scheduler import report
from scheduler.ledger import batches
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import Batch
from scheduler.settings import Settings
from scheduler.storage import Storage

log = structlog.get_logger()


class Reporter:
    """The scheduler's duty to report; its memory is only when to try again."""

    def __init__(self, ledger: Ledger, storage: Storage, settings: Settings) -> None:
        self._ledger = ledger
        self._storage = storage
        self._settings = settings
        self._tries: dict[UUID, int] = {}
        self._not_before: dict[UUID, float] = {}

    def step(self) -> bool:
        """Write the report of one batch whose turn it is; return whether there was one.

        Raises:
            LedgerUnavailable: Try again.
        """
        with self._ledger.begin() as session:
            waiting = batches.unreported(session)
        now = time.monotonic()
        due = [batch for batch in waiting if self._not_before.get(batch.id, now) <= now]
        if not due:
            return False
        self._report(due[0])
        return True

    def _report(self, batch: Batch) -> None:
        batch_id = batch.id
        try:
            report.write(self._ledger, self._storage, batch_id)
        except WorldError as exc:
            self._back_off(batch_id, str(exc))
            return
        except RequestError as exc:
            self._give_up(batch, str(exc))
            return
        except Exception as exc:
            # A bug in one report must not stop the scheduler.
            log.error("report.crashed", batch=str(batch_id), exc_info=exc)
            self._give_up(batch, f"{type(exc).__name__}: {exc}")
            return
        with self._ledger.begin() as session:
            batches.reported(session, batch)
        log.info("batch.reported", batch=str(batch_id))

    def _back_off(self, batch_id: UUID, reason: str) -> None:
        tries = self._tries[batch_id] = self._tries.get(batch_id, 0) + 1
        # Capped before the power is taken: a store that is away for weeks would overflow it.
        wait_s = self._settings.backoff_s * 2.0 ** min(tries - 1, 64)
        wait_s = min(wait_s, self._settings.backoff_max_s)
        self._not_before[batch_id] = time.monotonic() + wait_s
        log.warning("report.delayed", batch=str(batch_id), wait_s=wait_s, reason=reason)

    def _give_up(self, batch: Batch, reason: str) -> None:
        """The outcomes are safe in the ledger; say in the batch why its files are missing."""
        log.error("report.failed", batch=str(batch.id), reason=reason)
        with self._ledger.begin() as session:
            batches.unreportable(session, batch, f"no report: {reason}")
