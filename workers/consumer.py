"""Celery's worker inside our process: takes bundles from the queues, and leaves signals to us."""

import time
from collections.abc import Sequence
from typing import Any, cast

from celery import Celery
from celery.app.trace import setup_worker_optimizations
from celery.worker import state

BUNDLES_AT_ONCE = 4
"""One is on the device, one is fetched for it, one is stored behind it, one waits its turn."""


class Consumer:
    """Runs Celery's loop on the calling thread; `stop` may be called from any other.

    `WorkController` is used rather than Celery's command, because that one takes over SIGTERM and
    then waits for running tasks as long as they like: threads can't be interrupted by it.

    Attributes:
        last_turn: When Celery's loop last went round, by the monotonic clock.
    """

    def __init__(self, app: Celery, queues: Sequence[str]) -> None:
        setup_worker_optimizations(app)
        self._worker = app.WorkController(
            pool="threads",
            concurrency=BUNDLES_AT_ONCE,
            queues=list(queues),
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
        )
        self._hub = cast("Any", self._worker.hub)  # kombu's, which the stubs don't know
        self._hub.on_tick.add(self._note_turn)
        self.last_turn = time.monotonic()

    def run(self) -> bool:
        """Consume until stopped, and return once every task has ended; False if Celery failed."""
        self._worker.start()
        return not self._worker.exitcode

    def stop(self) -> None:
        """Take no more messages; tasks that run are waited for by `run`."""
        state.should_stop = 0  # type: ignore[assignment]  # the stubs know only its first value
        self._hub.call_soon(_look_at_the_flag)

    def _note_turn(self) -> None:
        self.last_turn = time.monotonic()


def _look_at_the_flag() -> None:
    """Do nothing: being called makes the loop go round."""
