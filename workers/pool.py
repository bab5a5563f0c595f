"""Threads that take work from one queue, and hold nothing while they wait."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any


class Pool:
    """A fixed number of threads; `work` is called with what `put` was given, and must not raise."""

    def __init__(self, name: str, count: int, work: Callable[..., None]) -> None:
        self._queue: SimpleQueue[tuple[Any, ...] | None] = SimpleQueue()
        self._first: deque[tuple[Any, ...]] = deque()
        self._work = work
        # Daemons: a thread that is stuck in a driver must not keep the process from ending.
        self._threads = [
            threading.Thread(target=self._keep_working, name=f"{name}-{number}", daemon=True)
            for number in range(count)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def put(self, *item: Any) -> None:  # noqa: ANN401 - whatever `work` takes
        """Queue one piece of work."""
        self._queue.put(item)

    def put_first(self, *item: Any) -> None:  # noqa: ANN401
        """Queue what `take_back` gave before all else; for a thread of the pool itself, at work."""
        self._first.append(item)

    def take_back(self) -> Iterator[tuple[Any, ...]]:
        """Yield what was put and no thread has begun."""
        try:
            while item := self._queue.get_nowait():
                yield item
        except Empty:
            return
        self._queue.put(None)  # a thread's word to end

    def close(self, *, within_s: float) -> bool:
        """Let the threads end after what is queued; tell whether all of them did in time."""
        for _ in self._threads:
            self._queue.put(None)
        until = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _keep_working(self) -> None:
        while (item := self._next()) is not None:
            self._work(*item)
            item = None  # a picture must not outlive its job in a thread that waits

    def _next(self) -> tuple[Any, ...] | None:
        return self._first.popleft() if self._first else self._queue.get()
