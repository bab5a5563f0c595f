"""What jobs that somebody follows are doing: told at most twice a second, kept with the job.

Lines go to a Redis stream, which is a hint, and with the heartbeat and the outcome to the ledger.
"""

import threading
import time
from collections.abc import Callable

import structlog

from scheduler import broker, live
from scheduler.errors import BrokerUnavailable
from scheduler.live import Entry, News
from scheduler.settings import Settings
from workers.life import Life

log = structlog.get_logger()

PACE_S = 0.5
STEP_PERCENT = 10
"""Of a stage, done since the last line, so that it has about ten lines at most."""


class Chronicle:
    """One thread that tells what stages say."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        """Prepare.

        Args:
            send: Adds an entry to the live stream.
        """
        self._send = send
        self._lock = threading.Lock()
        self._untold: dict[int, Life] = {}
        self._something = threading.Event()
        self._stopping = threading.Event()
        self._silent = False
        self._thread = threading.Thread(target=self._run, name="chronicle", daemon=True)

    def start(self) -> None:
        """Begin to tell."""
        self._thread.start()

    def close(self) -> None:
        """Tell what is left, and end."""
        self._stopping.set()
        self._something.set()
        if self._thread.ident is not None:
            self._thread.join(PACE_S)

    def say(self, life: Life, message: str) -> None:
        """Add a line to the log of a job that somebody follows."""
        if not life.job.options.get(live.FOLLOWED) or len(life.lines) >= live.MOST_LINES:
            return
        entry = Entry(at=time.time(), message=message[: live.MESSAGE_CHARACTERS])
        life.lines.append(entry.document())
        with self._lock:
            self._untold[id(life)] = life
        self._something.set()

    def progress(self, life: Life, fraction: float, stage: str) -> None:
        """Add a line where a stage is new, or a good part of it was done since the last line."""
        before, reached = life.progress
        percent = round(100 * fraction)
        if stage == before and percent < reached + STEP_PERCENT:
            return
        life.progress = (stage, percent)
        self.say(life, f"{stage}: {percent} %")

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._something.wait()
            self._something.clear()
            self._tell()
            self._stopping.wait(PACE_S)
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            lives, self._untold = list(self._untold.values()), {}
        news = [each for life in lives if (each := _news(life)).lines]
        if not news:
            return
        try:
            self._send(live.pack(news))
            self._silent = False
        except BrokerUnavailable as exc:
            if not self._silent:
                log.warning("chronicle.silent", reason=str(exc))
            self._silent = True


def _news(life: Life) -> News:
    """Return the lines that were not told, and count them as told."""
    first = life.told
    lines = life.lines[first:]
    life.told = first + len(lines)
    return News(job_id=life.job.id, epoch=life.job.epoch, first=first, lines=lines)


def to_stream(settings: Settings) -> Callable[[bytes], None]:
    """Return a function that adds an entry to the live stream."""
    client = broker.connect(settings)
    key = settings.redis_prefix + live.STREAM

    def send(raw: bytes) -> None:
        with broker.unavailable_mapped():
            client.xadd(key, {live.FIELD: raw}, maxlen=live.STREAM_ENTRIES, approximate=True)

    return send
