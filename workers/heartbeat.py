"""Keeps the worker's lease: on a thread and a connection of its own, whatever else is busy."""

import threading
import time
from collections.abc import Callable, Iterable
from typing import Protocol
from uuid import UUID

import structlog

from scheduler.errors import LedgerUnavailable
from scheduler.ledger import fleet, jobs, requests
from scheduler.ledger.fleet import Self as Description
from scheduler.ledger.jobs import Release, Ticket
from scheduler.ledger.requests import JobLog
from scheduler.ledger.session import Ledger
from workers import patience
from workers.life import Unwanted

log = structlog.get_logger()

BEATS_PER_LEASE = 4
SOONEST_S = 1.0
"""Pause before another try while the ledger is away."""


class Hands(Protocol):
    """What the heartbeat asks and tells the engine."""

    def in_hand(self) -> set[Ticket]:
        """Return the jobs that were claimed and are not settled yet."""
        ...

    def running(self) -> set[Ticket]:
        """Return the jobs whose result is not known yet."""
        ...

    def logs(self) -> list[JobLog]:
        """Return what followed jobs have said until now."""
        ...

    def give_up(self, tickets: Iterable[Ticket], why: Unwanted) -> None:
        """Mark jobs as unwanted."""
        ...


class Lease:
    """How much time this process certainly has, by its own clock."""

    def __init__(self, lease_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease_s = lease_s
        self._clock = clock
        self._changed = threading.Condition()
        self._expires = clock()

    def renewed(self, sent_at: float) -> None:
        """Note a renewal; it counts from before it was sent, so never too long."""
        with self._changed:
            self._expires = sent_at + self._lease_s
            self._changed.notify_all()

    def left_s(self) -> float:
        """Return the seconds left; negative once it has lapsed."""
        return self._expires - self._clock()

    def wait_for(self, needed_s: float) -> bool:
        """Wait until so much is left; False if the lease lapses before it is renewed."""
        with self._changed:
            while (left_s := self.left_s()) < needed_s:
                if left_s <= 0:
                    return False
                self._changed.wait(left_s)
            return True


class Heartbeat:
    """Renews the lease and carries back what the ledger thinks of the jobs in hand."""

    def __init__(
        self,
        ledger: Ledger,
        lease: Lease,
        hands: Hands,
        describe: Callable[[], Description],
        *,
        lease_s: float,
    ) -> None:
        """Beat nothing yet.

        Args:
            ledger: For the heartbeat alone: it must never wait for a connection.
            lease: What is renewed.
            hands: The engine.
            describe: The worker as it is now.
            lease_s: How far each beat pushes the lease.
        """
        self._ledger = ledger
        self._lease = lease
        self._hands = hands
        self._describe = describe
        self._lease_s = lease_s
        self._strangers: set[Ticket] = set()
        self._stopping = threading.Event()
        self._hurried = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self, stop: threading.Event) -> None:
        """Beat once, however long the ledger is away, then go on in the background.

        Before the first beat there is no lease, and whatever was claimed would lapse at once.

        Raises:
            LedgerUnavailable: `stop` was set first.
        """
        patience.until(stop)(self.beat)
        self._thread.start()

    def is_alive(self) -> bool:
        """Tell whether it still beats."""
        return self._thread.is_alive()

    def hurry(self) -> None:
        """Beat now, there is something to tell or to hear."""
        self._hurried.set()

    def stop(self) -> None:
        """Beat no more; what was started is left to the ledger."""
        self._stopping.set()
        self._hurried.set()
        if self._thread.ident is not None:
            self._thread.join(SOONEST_S)

    def beat(self) -> None:
        """Renew the lease, and compare what the ledger says we hold with what we do.

        Raises:
            LedgerUnavailable: Nothing was renewed.
        """
        worker = self._describe()
        running = self._hands.running()  # before we ask: what comes after is no loss
        sent_at = time.monotonic()
        with self._ledger.begin(durable=False) as session:
            fleet.renew(session, worker, lease_s=self._lease_s)
            held = fleet.held_by(session, worker.id)
            requests.keep_logs(session, self._hands.logs())
        self._lease.renewed(sent_at)
        self._hands.give_up(
            (ticket for ticket, unwanted in held.items() if unwanted), Unwanted.CANCELLED
        )
        self._hands.give_up(running - held.keys(), Unwanted.LOST)
        self._return_strangers(held.keys() - self._hands.in_hand(), worker.id)

    def _return_strangers(self, strangers: set[Ticket], worker_id: UUID) -> None:
        """Give back jobs that we hold but know nothing of, once they were seen in two beats.

        They come of a claim that was committed while the connection broke.
        """
        certain = strangers & self._strangers
        self._strangers = strangers
        if certain:
            with self._ledger.begin() as session:
                releases = [Release(ticket=ticket) for ticket in certain]
                jobs.release(session, releases, worker_id=worker_id)
            log.warning("jobs.returned", jobs=len(certain))

    def _run(self) -> None:
        wait_s = self._lease_s / BEATS_PER_LEASE
        failing = False
        while True:
            self._hurried.wait(min(wait_s, SOONEST_S) if failing else wait_s)
            self._hurried.clear()
            if self._stopping.is_set():
                return
            try:
                self.beat()
            except LedgerUnavailable as exc:
                if not failing:
                    log.warning("heartbeat.missed", reason=str(exc))
                failing = True
            else:
                failing = False
