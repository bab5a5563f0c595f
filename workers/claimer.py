"""Claims for all Celery threads at once: those that ask at the same moment share one statement."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from scheduler.ledger import jobs, queueing
from scheduler.ledger.jobs import Claimed, Ticket
from scheduler.ledger.session import Ledger


@dataclass(eq=False)
class Asked:
    """What one thread wants; `won` is set by whoever claimed for it."""

    tickets: Sequence[Ticket]
    won: list[Claimed] | None = None


@dataclass(frozen=True, kw_only=True)
class Haul:
    """What came of a bundle.

    Attributes:
        jobs: Those that this worker holds now.
        lonely: Those that can only be claimed to run alone; see `Claimer.claim_alone`.
    """

    jobs: list[Claimed]
    lonely: list[Ticket]


class Claimer:
    """Takes jobs for one worker; every method raises `LedgerUnavailable`, and can then be repeated.

    A claim need not outlive a crash of the server: the fence and the sweep repair a forgotten one.
    """

    def __init__(self, ledger: Ledger, worker_id: UUID, *, deadline_s: float) -> None:
        self._ledger = ledger
        self._worker_id = worker_id
        self._deadline_s = deadline_s
        self._asking = threading.Lock()
        self._asked: list[Asked] = []
        self._claiming = threading.Lock()

    def claim(self, tickets: Sequence[Ticket]) -> Haul:
        """Claim what is still to be had of a bundle; one that comes back short is filled up."""
        won = self._claim_together(tickets)
        if len(won) == len(tickets):
            return Haul(jobs=won, lonely=[])
        ids = {job.id for job in won}
        missed = [ticket for ticket in tickets if ticket.job_id not in ids]
        with self._ledger.begin(durable=False) as session:
            lonely = jobs.lonely(session, missed)
            short = len(missed) - len(lonely)
            if won and short:  # a message of which nothing is left is a double: it brings nothing
                more = queueing.more_queued(session, won[0].pipeline, limit=short)
                won += self._take(session, more, alone=False)
        return Haul(jobs=won, lonely=lonely)

    def claim_alone(self, ticket: Ticket) -> list[Claimed]:
        """Claim one job, by a worker that has nothing else in hand."""
        with self._ledger.begin(durable=False) as session:
            return self._take(session, [ticket], alone=True)

    def _claim_together(self, tickets: Sequence[Ticket]) -> list[Claimed]:
        mine = Asked(tickets)
        with self._asking:
            self._asked.append(mine)
        with self._claiming:
            if mine.won is None:
                self._claim_asked(mine)
        assert mine.won is not None
        return mine.won

    def _claim_asked(self, mine: Asked) -> None:
        """Claim for everybody who has asked so far; on an error each goes on for itself."""
        with self._asking:
            asked, self._asked = self._asked, []
        if mine not in asked:
            asked.append(mine)
        owners = {ticket: each for each in reversed(asked) for ticket in each.tickets}
        with self._ledger.autocommit(durable=False) as connection:
            won = self._take(connection, list(owners), alone=False)
        for each in asked:
            each.won = []
        for job in won:
            owner = owners[Ticket(job.id, job.epoch - 1)]
            assert owner.won is not None
            owner.won.append(job)

    def _take(
        self, session: Session | Connection, tickets: Sequence[Ticket], *, alone: bool
    ) -> list[Claimed]:
        return jobs.claim(
            session,
            tickets,
            worker_id=self._worker_id,
            deadline_s=self._deadline_s,
            alone=alone,
        )
