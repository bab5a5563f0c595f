"""The long-lived engine: bundles in, and every job's life through fetch, device and store.

    Celery thread: claim --> fetch pool --> ONE device thread --> store pool --> completer

The pools work across bundles: while the device has one job, inputs of the next bundles are fetched
and results of the last ones stored. The order is that of arrival; a job whose input is slow does
not hold up those behind it.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from uuid import UUID

import structlog

from scheduler.errors import LedgerUnavailable
from scheduler.ledger import jobs
from scheduler.ledger.jobs import Claimed, Ending, Release, Ticket
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from workers import patience
from workers.claimer import Claimer
from workers.completer import Completer
from workers.gate import Closed, Gate
from workers.life import Bundle, Life, Unwanted
from workers.pool import Pool
from workers.verdict import Result, unwanted, verdict

log = structlog.get_logger()

UNWIND_S = 1.5
"""How long a drained job may take from noticing it to having stopped."""
FLUSH_S = 3.0
"""How long a stopping worker tries to write its last results."""
JOIN_S = 0.1

Fetched = TypeVar("Fetched")
Enlarged = TypeVar("Enlarged")
Asking = TypeVar("Asking")
Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Stages(Generic[Fetched, Enlarged]):
    """What is done to one job, in three steps; each may raise anything.

    Attributes:
        fetch: Runs on several threads: reads and decodes the input.
        upscale: Runs on the device thread.
        store: Runs on several threads: encodes and stores, and says how the job ended.
    """

    fetch: Callable[[Life], Fetched]
    upscale: Callable[[Life, Fetched], Enlarged]
    store: Callable[[Life, Enlarged], Ending]


class Engine:
    """Runs bundles until it is drained."""

    def __init__(
        self, ledger: Ledger, worker_id: UUID, stages: Stages[Any, Any], settings: Settings
    ) -> None:
        self._ledger = ledger
        self._worker_id = worker_id
        self._stages = stages
        self._settings = settings
        self._gate = Gate()
        self._claimer = Claimer(ledger, worker_id, deadline_s=settings.job_deadline_s)
        self._completer = Completer(ledger, worker_id)
        self._open: dict[int, Life] = {}
        self._runs = 0
        self._runs_changed = threading.Condition()
        self._last_run = time.monotonic()
        self._draining = threading.Event()
        self._patiently = patience.until(self._draining)
        self._fetching = Pool("fetch", settings.fetch_threads, self._fetch)
        self._device = Pool("device", 1, self._upscale)
        self._on_device_since: float | None = None
        self._storing = Pool("store", settings.store_threads, self._store)
        self._pools = (self._fetching, self._device, self._storing)

    def start(self) -> None:
        """Start the threads."""
        self._completer.start()
        for pool in self._pools:
            pool.start()

    def run(self, tickets: Sequence[Ticket]) -> None:
        """Claim what is still to be had of a bundle, and return when all of that is settled.

        Never raises on account of a job or of the ledger.
        """
        self._count_runs(1)
        try:
            for ticket in self._run_together(tickets):
                self._run_alone(ticket)
        except Closed:
            self._hand_back(tickets)
        except Exception:  # the outermost frame of a Celery thread
            log.exception("bundle.crashed", jobs=len(tickets))
        finally:
            self._count_runs(-1)

    def _run_together(self, tickets: Sequence[Ticket]) -> list[Ticket]:
        """Run a bundle beside others; return the jobs that were left because they may not."""
        with self._gate.entered(alone=False):
            haul = self._persist(self._claimer.claim, tickets)
            self._live(haul.jobs)
        return haul.lonely

    def _run_alone(self, ticket: Ticket) -> None:
        with self._gate.entered(alone=True):
            self._live(self._persist(self._claimer.claim_alone, ticket))

    def _persist(self, claim: Callable[[Asking], Answer], asking: Asking) -> Answer:
        """Claim, however long the ledger is away.

        Raises:
            Closed: The worker stops.
        """
        try:
            return self._patiently(claim, asking)
        except LedgerUnavailable as exc:
            raise Closed from exc

    def _live(self, claimed: Sequence[Claimed]) -> None:
        """Send claimed jobs through the stages and wait until all are settled."""
        if not claimed:
            return
        if self._draining.is_set():  # the threads may be gone before these could be settled
            self._release(claimed)
            return
        bundle = Bundle(len(claimed))
        lives = [Life(job, bundle) for job in claimed]
        for life in lives:
            self._open[id(life)] = life
        for life in lives:
            self._fetching.put(life)
        bundle.wait()

    def _hand_back(self, tickets: Sequence[Ticket]) -> None:
        """Tell the ledger that a message won't be opened; if it is away, the sweeper finds out."""
        try:
            with self._ledger.begin() as session:
                jobs.unqueue(session, tickets)
        except LedgerUnavailable as exc:
            log.warning("bundle.kept", jobs=len(tickets), reason=str(exc))

    def _release(self, claimed: Sequence[Claimed]) -> None:
        """Give back what was claimed too late; if the ledger is away, signing off does it."""
        releases = [Release(ticket=job.ticket) for job in claimed]
        try:
            with self._ledger.begin() as session:
                jobs.release(session, releases, worker_id=self._worker_id)
        except LedgerUnavailable as exc:
            log.warning("jobs.kept", jobs=len(claimed), reason=str(exc))

    # The stages. A picture is only ever held by the frame that works on it or by a queue.

    def _fetch(self, life: Life) -> None:
        if self._draining.is_set():
            life.give_up(Unwanted.DRAINED)
        self._attempt(life, self._fetch_one, life)

    def _fetch_one(self, life: Life) -> None:
        life.check_cancelled()
        self._device.put(life, self._stages.fetch(life))

    def _upscale(self, life: Life, fetched: Any) -> None:  # noqa: ANN401 - the stages' own
        self._attempt(life, self._upscale_one, life, fetched)

    def _upscale_one(self, life: Life, fetched: Any) -> None:  # noqa: ANN401
        life.check_cancelled()
        began = self._on_device_since = time.perf_counter()
        try:
            enlarged = self._stages.upscale(life, fetched)
        finally:
            self._on_device_since = None
            life.device_s += time.perf_counter() - began
        self._storing.put(life, enlarged)

    def _store(self, life: Life, enlarged: Any) -> None:  # noqa: ANN401
        self._attempt(life, self._store_one, life, enlarged)

    def _store_one(self, life: Life, enlarged: Any) -> None:  # noqa: ANN401
        life.check_cancelled()
        self._end(life, self._stages.store(life, enlarged))

    def _attempt(self, life: Life, stage: Callable[..., None], *args: Any) -> None:  # noqa: ANN401
        """Do a stage; whatever it raises is this job's end and no other's.

        Even `SystemExit` and the like: a thread has nobody above it who would hear of them.
        """
        try:
            stage(*args)
        except BaseException as exc:  # noqa: BLE001 - the engine's outermost frame
            self._end(life, verdict(life, exc, self._settings))

    def _end(self, life: Life, result: Result) -> None:
        """Let a job go, once: a drain may have given it back while it still computed."""
        if self._open.pop(id(life), None) is None:
            return
        life.free_memory()
        self._completer.put(life, result)

    # What other threads ask and tell.

    def in_hand(self) -> set[Ticket]:
        """Return the jobs that were claimed and are not settled yet."""
        return self.running() | self._completer.pending()

    def running(self) -> set[Ticket]:
        """Return the jobs whose result is not known yet."""
        return {life.ticket for life in list(self._open.values())}

    def give_up(self, tickets: Iterable[Ticket], why: Unwanted) -> None:
        """Let jobs notice, at the next chance, that nobody wants them any more."""
        chosen = set(tickets)
        for life in list(self._open.values()):
            if life.ticket in chosen:
                life.give_up(why)

    def idle_s(self) -> float:
        """Return for how long no bundle has been here."""
        with self._runs_changed:
            return 0.0 if self._runs else time.monotonic() - self._last_run

    def on_device_s(self) -> float:
        """Return for how long one job has had the device; 0 while none has."""
        since = self._on_device_since
        return 0.0 if since is None else time.perf_counter() - since

    # The end.

    def drain(self, grace_s: float) -> bool:
        """Take nothing new, finish what fits into `grace_s`, give the rest back, end the threads.

        Returns:
            Whether every thread came to its end; one may still compute for nobody.
        """
        self._draining.set()
        self._gate.close()
        self._release_unbegun()
        if not self._wait_for_runs(grace_s):
            self._stop_running()
        self._completer.close(within_s=FLUSH_S)
        self._wait_for_runs(UNWIND_S)
        ended = [pool.close(within_s=JOIN_S) for pool in self._pools]
        return all(ended)

    def _release_unbegun(self) -> None:
        for (life,) in self._fetching.take_back():
            self._end(life, unwanted(life, Unwanted.DRAINED))

    def _stop_running(self) -> None:
        """Tell running jobs to stop; those that don't are given back while they compute."""
        self.give_up(self.running(), Unwanted.DRAINED)
        if not self._wait_for_runs(UNWIND_S):
            for life in list(self._open.values()):
                life.give_up(Unwanted.DRAINED)
                self._end(life, unwanted(life, Unwanted.DRAINED))

    def _count_runs(self, change: int) -> None:
        with self._runs_changed:
            self._runs += change
            self._last_run = time.monotonic()
            self._runs_changed.notify_all()

    def _wait_for_runs(self, timeout_s: float) -> bool:
        """Wait until no bundle is here any more; tell whether that came about."""
        with self._runs_changed:
            return self._runs_changed.wait_for(lambda: self._runs == 0, timeout_s)
