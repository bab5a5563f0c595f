"""The budget of decoded pictures: a worker's memory is bounded by bytes, not by a count of jobs."""

import threading
from collections import deque
from collections.abc import Callable

LOOK_S = 0.25
"""How often one who waits looks whether its job is still wanted."""


class Reservation:
    """Bytes set aside for one job until they are released."""

    def __init__(self, admission: "Admission", size_bytes: int) -> None:
        self._admission = admission
        self._size_bytes = size_bytes

    def release(self) -> None:
        """Give the bytes back; a second time does nothing."""
        self._admission._give_back(self)


class Admission:
    """Hands out the budget in the order of asking, so that a large picture is never passed over."""

    def __init__(self, budget_bytes: int) -> None:
        self._budget = budget_bytes
        self._held = 0
        self._line: deque[object] = deque()
        self._changed = threading.Condition()

    @property
    def held_bytes(self) -> int:
        """What is set aside now; never more than the budget."""
        return self._held

    def reserve(self, size_bytes: int, check_cancelled: Callable[[], None]) -> Reservation:
        """Wait for room and take it.

        A job that is larger than the whole budget takes all of it: it is held alone, and runs.

        Args:
            size_bytes: Of the decoded input and the expected output.
            check_cancelled: Called while waiting; what it raises ends the wait.
        """
        wanted = min(size_bytes, self._budget)
        place = object()
        with self._changed:
            self._line.append(place)
            try:
                while self._line[0] is not place or self._held + wanted > self._budget:
                    self._changed.wait(LOOK_S)
                    check_cancelled()
                self._held += wanted
            finally:
                self._line.remove(place)
                self._changed.notify_all()
        return Reservation(self, wanted)

    def _give_back(self, reservation: Reservation) -> None:
        with self._changed:
            self._held -= reservation._size_bytes
            reservation._size_bytes = 0
            self._changed.notify_all()
