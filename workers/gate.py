"""Who may claim now: many bundles side by side, or one job that must run alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Closed(Exception):
    """The worker is stopping: nothing new may be claimed."""


class Gate:
    """Lets bundles in together, or a lone job by itself; lone jobs go first.

    A job runs alone after its worker died, because it may be what killed it. It must be claimed
    inside as well: a job that was merely claimed dies with the process and loses a try.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone_inside = False
        self._alone_waiting = 0
        self._closed = False

    @contextmanager
    def entered(self, *, alone: bool) -> Iterator[None]:
        """Wait until there is room, and hold the place.

        Raises:
            Closed: The gate was closed before there was room.
        """
        self._enter(alone=alone)
        try:
            yield
        finally:
            self._leave()

    def close(self) -> None:
        """Let nobody in any more, and send away those who wait."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _enter(self, *, alone: bool) -> None:
        with self._changed:
            self._alone_waiting += alone
            try:
                self._changed.wait_for(lambda: self._closed or self._has_room(alone=alone))
            finally:
                self._alone_waiting -= alone
            if self._closed:
                raise Closed
            self._inside += 1
            self._alone_inside = alone

    def _has_room(self, *, alone: bool) -> bool:
        if alone:
            return self._inside == 0
        return not self._alone_inside and not self._alone_waiting

    def _leave(self) -> None:
        with self._changed:
            self._inside -= 1
            self._alone_inside = False
            self._changed.notify_all()
