"""How long the lines are, refreshed each second, and who has sent too much.

All of it is a process's own memory of the ledger's counters: a limit may be passed by what came
within the last second.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import anyio
import structlog
from anyio import CapacityLimiter

from scheduler.errors import LedgerUnavailable
from scheduler.ledger import requests
from scheduler.ledger.requests import Line
from scheduler.ledger.session import Ledger

log = structlog.get_logger()

REFRESH_S = 1.0
MINUTE_S = 60.0


class Lines:
    """The lines at the endpoints, as of the last second."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lock = threading.Lock()
        self._lines: list[Line] = []
        self._since: Counter[tuple[str, str]] = Counter()
        self._by_feed: Counter[str] = Counter()
        self._limiter = CapacityLimiter(1)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Refresh from now on."""
        self._task = asyncio.create_task(self._keep_refreshing())

    async def close(self) -> None:
        """Refresh no more."""
        assert self._task is not None, "it was not started"
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    def note(self, feed: str, owner: str, endpoint: str) -> int:
        """Count a request in; return how many came to its feed since the last refresh."""
        with self._lock:
            self._since[owner, endpoint] += 1
            self._by_feed[feed] += 1
            return self._by_feed[feed] - 1

    def waiting(self, *, owner: str | None = None, endpoint: str | None = None) -> int:
        """Return how many requests wait: of an owner, at an endpoint, or of both."""
        with self._lock:
            known = [(line.owner, line.endpoint, line.waiting) for line in self._lines]
            known += [(*where, count) for where, count in self._since.items()]
        return sum(
            count
            for whose, where, count in known
            if owner in (None, whose) and endpoint in (None, where)
        )

    def refresh(self) -> None:
        """Read the counters.

        Raises:
            LedgerUnavailable: What was known stays.
        """
        with self._lock:
            counted, by_feed = self._since.copy(), self._by_feed.copy()
        with self._ledger.begin(durable=False) as session:
            lines = requests.refresh(session)
        with self._lock:
            self._lines = lines
            self._since -= counted  # what came meanwhile stays; it may be in the counters, too
            self._by_feed -= by_feed

    async def _keep_refreshing(self) -> None:
        while True:
            try:
                await anyio.to_thread.run_sync(self.refresh, limiter=self._limiter)
            except LedgerUnavailable as exc:
                log.warning("counters.stale", reason=str(exc))
            await asyncio.sleep(REFRESH_S)


class Rates:
    """A bucket of tokens for each key that has a limit."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: dict[UUID, tuple[float, float]] = {}

    def take(self, key_id: UUID, per_minute: int) -> bool:
        """Take a token; False where none is left, until some have grown again."""
        with self._lock:
            left, at = self._buckets.get(key_id, (float(per_minute), self._clock()))
            now = self._clock()
            left = min(float(per_minute), left + (now - at) * per_minute / MINUTE_S)
            allowed = left >= 1.0
            self._buckets[key_id] = (left - 1.0 if allowed else left, now)
            return allowed
