"""How fast batches go, from a few looks at their counters."""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from scheduler.ledger.batches import Progress

WINDOW_S = 20.0
"""The rate is that of the last so many seconds: steady enough to read, quick enough to believe."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a batch stands.

    Attributes:
        progress: Its counters.
        rate: Rows ended a second, lately.
        left_s: Seconds until the last row, if it goes on so; None where nobody can tell.
    """

    progress: "Progress"
    rate: float
    left_s: float | None


class Pace:
    """Remembers the last looks at one batch."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._looks: deque[tuple[float, int]] = deque()

    def look(self, progress: "Progress") -> Standing:
        """Take a look into account."""
        now = self._clock()
        if all(ended == progress.ended for _, ended in self._looks):
            self._looks.clear()  # the wait for the first row says nothing about the others
        self._looks.append((now, progress.ended))
        while len(self._looks) > 2 and now - self._looks[0][0] > WINDOW_S:
            self._looks.popleft()
        rate = self._rate()
        left = progress.total - progress.ended
        known = progress.read_at is not None and rate > 0
        return Standing(progress=progress, rate=rate, left_s=left / rate if known else None)

    def _rate(self) -> float:
        (began, first), (now, last) = self._looks[0], self._looks[-1]
        return max(0.0, (last - first) / (now - began)) if now > began else 0.0


class Paces:
    """The paces of batches that are asked about now and then; the longest unasked are forgotten.

    Of a batch that is looked at for the first time the rate is the average since it was made.
    """

    def __init__(self, *, most: int = 1000) -> None:
        self._most = most
        self._paces: OrderedDict[UUID, Pace] = OrderedDict()
        self._lock = threading.Lock()

    def look(self, progress: "Progress") -> Standing:
        """Take a look into account, from any thread."""
        with self._lock:
            pace = self._paces.setdefault(progress.id, Pace())
            self._paces.move_to_end(progress.id)
            while len(self._paces) > self._most:
                self._paces.popitem(last=False)
            standing = pace.look(progress)
        return standing if standing.rate else standing_on_average(progress, datetime.now(UTC))


def standing_on_average(progress: "Progress", now: datetime) -> Standing:
    """Return where a batch stands by its average rate from its making to its end, or to now."""
    seconds = ((progress.ended_at or now) - progress.created_at).total_seconds()
    rate = progress.ended / seconds if seconds > 0 else 0.0
    left = progress.total - progress.ended
    known = progress.read_at is not None and rate > 0
    return Standing(progress=progress, rate=rate, left_s=left / rate if known else None)
