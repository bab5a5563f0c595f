"""One lane for each destination: how much goes there at once, and whether it is down.

A destination that hangs or is down takes nothing from the others: it has its own queue and its own
connections. After a few failures in a row its circuit opens. While it is open, what is due fails
without being sent; then one message at a time tries whether the destination is back.
"""

from collections import deque
from dataclasses import dataclass, field

from scheduler.ledger.deliveries import Taken
from scheduler.webhooks.schedule import Answer

FIRST_WINDOW = 2
"""How many go at once to a destination that nothing is known of; one more with each success."""
AHEAD_S = 0.5
"""What a destination takes in so long is taken from the ledger ahead, lest a connection waits."""
LEAST_AHEAD = 8
MOST_AHEAD = 1000
FIRST_ROOM = 64
"""How many are taken for a destination that nothing is known of."""
OPENS_AFTER = 5
COOL_S = 1.0
LONGEST_COOL_S = 60.0
DOWN_AT_ONCE = 200
"""How many are failed at a time while a destination is down."""
UNWELL = {429, 502, 503, 504}
"""Statuses by which a destination says that it can't take more; 500 may be about one message."""


@dataclass(kw_only=True)
class Lane:
    """A destination, as this sender knows it; times are of one monotonic clock.

    Attributes:
        origin: Scheme, host and port.
        most: The widest that `window` gets.
        waiting: What was taken from the ledger and not begun, and until when it may be.
        in_flight: How many connections are busy.
        window: How many may be.
        pace_s: How long an answer takes, lately.
        failed: Failures of the destination in a row.
        open_until: Until then nothing is sent.
        last: What it answered last, or why it did not.
        full: The ledger has more for it, as far as is known.
    """

    origin: str
    most: int
    waiting: deque[tuple[Taken, float]] = field(default_factory=deque)
    in_flight: int = 0
    window: int = FIRST_WINDOW
    pace_s: float = AHEAD_S / LEAST_AHEAD
    failed: int = 0
    open_until: float = 0.0
    last: str = ""
    full: bool = False
    _cool_s: float = COOL_S

    def is_down(self, now: float) -> bool:
        """Tell whether nothing is to be sent at the moment."""
        return self.failed >= OPENS_AFTER and now < self.open_until

    def room(self, now: float) -> int:
        """Return how many to take from the ledger."""
        if self.is_down(now):
            return DOWN_AT_ONCE
        return max(0, self.ahead - len(self.waiting) - self.in_flight)

    def startable(self) -> int:
        """Return how many of those that wait may be sent now; not for a lane that is down."""
        return max(0, min(len(self.waiting), self._limit - self.in_flight))

    def may_go_on(self, now: float) -> bool:
        """Tell whether one of those in flight may begin another message."""
        return self.in_flight <= self._limit and not self.is_down(now)

    def is_hungry(self) -> bool:
        """Tell whether to look for more, before a connection has to wait for it."""
        return self.full and len(self.waiting) < self.ahead // 2

    @property
    def _limit(self) -> int:
        return 1 if self.failed >= OPENS_AFTER else self.window

    @property
    def ahead(self) -> int:
        """How many are to be at hand, those in flight included."""
        in_time = int(self._limit * AHEAD_S / max(self.pace_s, 0.001))
        return min(max(in_time, LEAST_AHEAD, 2 * self._limit), MOST_AHEAD)

    def note(self, answer: Answer, now: float) -> None:
        """Learn from an answer: widen, or narrow, or open the circuit."""
        self.pace_s += (answer.seconds - self.pace_s) / 16
        if answer.status is not None and answer.status not in UNWELL:
            self.failed, self._cool_s = 0, COOL_S
            self.window = min(self.window + 1, self.most)
            return
        self.failed += 1
        self.window = FIRST_WINDOW
        self.last = f"{answer.status or ''} {answer.text}".strip()[:200]
        if self.failed >= OPENS_AFTER and not self.is_down(now):
            self.open_until = now + self._cool_s
            self._cool_s = min(2 * self._cool_s, LONGEST_COOL_S)

    def is_idle(self) -> bool:
        """Tell whether it may be forgotten: nothing is on its way, and nothing worth knowing."""
        return not self.waiting and not self.in_flight and not self.failed
