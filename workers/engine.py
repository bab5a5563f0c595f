"""The long-lived engine: bundles in, and every job's life through fetch, device and store.

    Celery thread: claim --> fetch pool --> ONE device thread --> store pool --> completer
                                 |____________________________________________________^
                                   what needs no computing

The pools work across bundles: while the device has one job, inputs of the next bundles are fetched
and results of the last ones stored. The order is that of arrival; a job whose input is slow does
not hold up those behind it. Jobs that wait for the device may go through it in one call; if that
fails for whatever reason, they are done one by one, so that a bad one fails alone; and so is one
that alone failed in the call.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from uuid import UUID

import structlog

from scheduler import traces
from scheduler.errors import LedgerUnavailable
from scheduler.ledger import jobs, queueing
from scheduler.ledger.jobs import Claimed, Ending, Release, Ticket
from scheduler.ledger.requests import JobLog
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from workers import patience
from workers.claimer import Claimer
from workers.completer import Completer
from workers.gate import Closed, Gate
from workers.life import Bundle, Life, Unwanted
from workers.pool import Pool
from workers.stages import Stages
from workers.tally import Tally
from workers.verdict import Result, unwanted, verdict

log = structlog.get_logger()

UNWIND_S = 1.5
"""How long a drained job may take from noticing it to having stopped."""
FLUSH_S = 3.0
"""How long a stopping worker tries to write its last results."""
JOIN_S = 0.1

Asking = TypeVar("Asking")
Answer = TypeVar("Answer")


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
        self.tally = Tally()
        self._completer = Completer(ledger, worker_id, self.tally)
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
                queueing.unqueue(session, tickets)
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
        fetched = self._stages.fetch(life)
        if isinstance(fetched, Ending):
            self._end(life, fetched)  # not behind others that wait for the device
        else:
            self._device.put(life, fetched)

    def _upscale(self, life: Life, fetched: Any) -> None:  # noqa: ANN401 - the stages' own
        group = self._gather((life, fetched))
        if not self._upscale_together(group):
            for each in group:
                self._attempt(each[0], self._upscale_one, *each)

    def _gather(self, first: tuple[Life, Any]) -> list[tuple[Life, Any]]:
        """Take what waits for the device and has room beside `first`, overtaking nobody."""
        group, together = [first], self._stages.together
        if together is not None:
            for life, fetched in self._device.take_back():
                if life.unwanted or not together.has_room(group, (life, fetched)):
                    self._device.put_first(life, fetched)
                    break
                group.append((life, fetched))
        return group

    def _upscale_together(self, group: Sequence[tuple[Life, Any]]) -> bool:
        """Do several jobs in one call; tell whether that is done, or each is to be done alone."""
        together = self._stages.together
        if together is None or len(group) < 2 or any(life.unwanted for life, _ in group):
            return False
        try:
            with self._on_device([life for life, _ in group]):
                results = together.upscale(group)
            done = list(zip(group, results, strict=True))
        except BaseException:
            log.warning("jobs.parted", jobs=len(group), exc_info=True)
            return False
        for (life, _), made in done:
            if not isinstance(made, Exception):
                self._storing.put(life, made)
        for (life, fetched), made in done:
            if isinstance(made, Exception):
                log.warning("job.parted", job=str(life.job.id), reason=repr(made)[:300])
                self._attempt(life, self._upscale_one, life, fetched)
        return True

    def _upscale_one(self, life: Life, fetched: Any) -> None:  # noqa: ANN401
        life.check_cancelled()
        with self._on_device([life]):
            enlarged = self._stages.upscale(life, fetched)
        self._storing.put(life, enlarged)

    @contextmanager
    def _on_device(self, lives: Sequence[Life]) -> Iterator[None]:
        """Count a block as time on the device, in equal shares."""
        began = self._on_device_since = time.perf_counter()
        began_ns = time.time_ns()
        try:
            yield
        finally:
            self._on_device_since = None
            share_s = (time.perf_counter() - began) / len(lives)
            for life in lives:
                life.device_s += share_s
                traces.note("device", life.job.id, began_ns, together=len(lives))

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
        life.let_go()
        self._completer.put(life, result)

    # What other threads ask and tell.

    def in_hand(self) -> set[Ticket]:
        """Return the jobs that were claimed and are not settled yet."""
        return self.running() | self._completer.pending()

    def running(self) -> set[Ticket]:
        """Return the jobs whose result is not known yet."""
        return {life.ticket for life in list(self._open.values())}

    def logs(self) -> list[JobLog]:
        """Return what followed jobs have said until now."""
        return [life.log for life in list(self._open.values()) if life.lines]

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
        """Return for how long one job, or one group, has had the device; 0 while none has."""
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
