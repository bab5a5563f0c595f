"""Writes results to the ledger: what ends together is committed together; none waits long."""

import threading
import time
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from scheduler.errors import LedgerUnavailable
from scheduler.ledger import jobs, requests, reuse
from scheduler.ledger.jobs import Ending, Release, Ticket
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from workers import patience
from workers.life import Life
from workers.tally import Tally
from workers.verdict import Result, describe, to_json

log = structlog.get_logger()

GATHER_S = 0.05
"""The longest that a result waits for others of its bundle."""


@dataclass(frozen=True)
class Finished:
    """A job and how it leaves; `result` is None where it is only to be forgotten."""

    life: Life
    result: Result


class Completer:
    """One thread that commits what has gathered, in one statement, again until it succeeds."""

    def __init__(self, ledger: Ledger, worker_id: UUID, tally: Tally) -> None:
        self._ledger = ledger
        self._tally = tally
        self._worker_id = worker_id
        self._changed = threading.Condition()
        self._gathered: list[Finished] = []
        self._since = 0.0
        self._urgent = False
        self._committing: list[Finished] = []
        self._closing = False
        self._abandoned = threading.Event()
        self._patiently = patience.until(self._abandoned)
        self._thread = threading.Thread(target=self._run, name="complete", daemon=True)

    def start(self) -> None:
        """Begin to commit."""
        self._thread.start()

    def put(self, life: Life, result: Result) -> None:
        """Hand over a result: it is committed within `GATHER_S`, or with its bundle's last."""
        last = life.bundle.end_one()
        with self._changed:
            first = not self._gathered
            if first:
                self._since = time.monotonic()
            self._gathered.append(Finished(life, result))
            self._urgent = self._urgent or last
            if first or last:
                self._changed.notify()

    def pending(self) -> set[Ticket]:
        """Return the jobs whose results are not in the ledger yet."""
        with self._changed:
            return {each.life.ticket for each in [*self._gathered, *self._committing]}

    def close(self, *, within_s: float) -> None:
        """Commit what is left and end; after `within_s` give up on an absent ledger."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(within_s)
        self._abandoned.set()
        self._thread.join()

    def _run(self) -> None:
        while batch := self._gather():
            self._commit(batch)
            self._committing = []
            for each in batch:
                each.life.bundle.settle_one()

    def _gather(self) -> list[Finished]:
        """Wait for results and return them; none once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._gathered or self._closing)
            left_s = self._since + GATHER_S - time.monotonic()
            self._changed.wait_for(lambda: self._urgent or self._closing, timeout=max(left_s, 0))
            self._committing, self._gathered, self._urgent = self._gathered, [], False
            return self._committing

    def _commit(self, batch: list[Finished]) -> None:
        try:
            ended = self._patiently(self._write, batch)
        except LedgerUnavailable:
            log.error("results.abandoned", jobs=len(batch))
        except Exception as exc:  # noqa: BLE001 - one result that can't be written must not stop the rest
            self._isolate(batch, exc)
        else:
            self._remember(batch, ended)
            for each in batch:
                if each.life.job.id in ended and isinstance(each.result, Ending):
                    self._tally.note(each.life, each.result)
                elif each.result is not None and each.life.job.id not in ended:
                    log.warning("job.lost", job=str(each.life.job.id), epoch=each.life.job.epoch)

    def _remember(self, batch: list[Finished], ended: set[UUID]) -> None:
        """Let equal jobs find these results; if that can't be written, they are computed again."""
        endings = [each.result for each in batch if isinstance(each.result, Ending)]
        made = [
            each.made for each in endings if each.made is not None and each.ticket.job_id in ended
        ]
        if not made:
            return
        try:
            with self._ledger.autocommit(durable=False) as connection:
                reuse.remember(connection, made)
        except Exception as exc:  # noqa: BLE001 - the results themselves are written
            log.warning("results.forgotten", jobs=len(made), reason=str(exc))

    def _write(self, batch: list[Finished]) -> set[UUID]:
        endings = [each.result for each in batch if isinstance(each.result, Ending)]
        releases = [each.result for each in batch if isinstance(each.result, Release)]
        logs = [each.life.log for each in batch if each.life.lines]
        if logs or (endings and releases):
            with self._ledger.begin() as session:
                requests.keep_logs(session, logs)
                return self._finish(session, endings) | self._release(session, releases)
        with self._ledger.autocommit() as connection:
            if endings:
                return self._finish(connection, endings)
            return self._release(connection, releases) if releases else set()

    def _finish(self, session: Session | Connection, endings: list[Ending]) -> set[UUID]:
        return jobs.finish(session, endings, worker_id=self._worker_id)

    def _release(self, session: Session | Connection, releases: list[Release]) -> set[UUID]:
        return jobs.release(session, releases, worker_id=self._worker_id)

    def _isolate(self, batch: list[Finished], exc: Exception) -> None:
        """Write results one by one; fail the job whose result the ledger refuses."""
        log.error("results.refused", jobs=len(batch), exc_info=exc)
        if len(batch) > 1:
            for each in batch:
                self._commit([each])
        elif not isinstance(batch[0].result, Ending) or batch[0].result.outcome is not None:
            ticket = batch[0].life.ticket
            failed = Ending(ticket=ticket, state=JobState.FAILED, error=to_json(describe(exc)))
            self._commit([Finished(batch[0].life, failed)])
