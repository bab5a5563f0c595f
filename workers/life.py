"""One job while it is in this process's hands, and the bundle that it came in."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from tempfile import TemporaryDirectory

from models.errors import Cancelled
from scheduler import traces
from scheduler.ledger.jobs import Claimed, Ticket
from scheduler.ledger.requests import JobLog
from workers.admission import Reservation


class Unwanted(StrEnum):
    """Why nobody wants a job's result from this process any more."""

    CANCELLED = "cancelled"
    """Its user took it back: it ends as cancelled."""
    LOST = "lost"
    """The ledger gave it to somebody else: whatever comes of it is discarded."""
    DRAINED = "drained"
    """This process is stopping: it is given back, at no cost."""


class Bundle:
    """Jobs that were claimed together; whoever handed them in waits until all are settled."""

    def __init__(self, size: int) -> None:
        self._unended = size
        self._unsettled = size
        self._lock = threading.Lock()
        self._settled = threading.Event()

    def end_one(self) -> bool:
        """Count a job whose result is known; tell whether it was the last."""
        with self._lock:
            self._unended -= 1
            return self._unended == 0

    def settle_one(self) -> None:
        """Count a job whose result is in the ledger, or of no use to it."""
        with self._lock:
            self._unsettled -= 1
            if self._unsettled == 0:
                self._settled.set()

    def wait(self) -> None:
        """Return when every job is settled."""
        self._settled.wait()


class Life:
    """A claimed job on its way through the stages.

    Attributes:
        job: What was claimed.
        began_ns: When that was, by this host's clock.
        bundle: What it came in.
        unwanted: Set by other threads; the job notices at its next `check_cancelled`.
        reservation: Its share of the memory budget, once it has one.
        folder: Its fetched files beside the picture, once it has any.
        held: Keeps what it uses of files that outlive it.
        etag: Of the source as it was read, once it was.
        device_s: How long it held the device.
        timings: Seconds that its steps took, by name.
        lines: Its log, where somebody follows it.
        told: How many lines of it were told.
        progress: The stage, and the percentage of it, that the log said last.
    """

    __slots__ = (
        "began_ns",
        "bundle",
        "device_s",
        "etag",
        "folder",
        "held",
        "job",
        "lines",
        "progress",
        "reservation",
        "timings",
        "told",
        "unwanted",
    )

    def __init__(self, job: Claimed, bundle: Bundle) -> None:
        self.job = job
        self.bundle = bundle
        self.began_ns = time.time_ns()
        self.unwanted: Unwanted | None = None
        self.reservation: Reservation | None = None
        self.folder: TemporaryDirectory[str] | None = None
        self.held = ExitStack()
        self.etag: str | None = None
        self.device_s = 0.0
        self.timings: dict[str, float] = {}
        self.lines: list[dict[str, str]] = []
        self.told = 0
        self.progress = ("", 0)

    @property
    def ticket(self) -> Ticket:
        """What the ledger matches."""
        return self.job.ticket

    @property
    def log(self) -> JobLog:
        """Its log until now, for the ledger."""
        entries = json.dumps(self.lines, ensure_ascii=False)
        return JobLog(job_id=self.job.id, epoch=self.job.epoch, entries=entries)

    def check_cancelled(self) -> None:
        """Raise `Cancelled` once nobody wants the job."""
        if self.unwanted is not None:
            raise Cancelled

    def give_up(self, why: Unwanted) -> None:
        """Mark the job as unwanted, unless it is already."""
        if self.unwanted is None:
            self.unwanted = why

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        """Add a block's duration to the timings."""
        began, began_ns = time.perf_counter(), time.time_ns()
        try:
            yield
        finally:
            traces.note(step.removesuffix("_s"), self.job.id, began_ns)
            self.timings[step] = self.timings.get(step, 0.0) + time.perf_counter() - began

    def let_go(self) -> None:
        """Return its share of the memory budget, and delete its files, if it has any."""
        if self.reservation is not None:
            self.reservation.release()
        if self.folder is not None:
            self.folder.cleanup()
        self.held.close()
