"""Things that a process does again and again, each on a thread of its own."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from models.errors import WorldError

log = structlog.get_logger()

BUSY_S = 0.05
"""Pause between two steps of a duty that has more to do."""
WORST_WAIT_S = 15.0


@dataclass(frozen=True)
class Duty:
    """Something that is done again and again on a thread of its own.

    Attributes:
        name: For the log.
        step: Does a piece of it; returns whether there is more to do right away.
        period_s: The pause when there is nothing more.
        rests: The pause is at least so many times as long as the step took: what reads all that is
            queued takes its time where something keeps the database from cleaning up.
        patient: Nothing that comes in ends its pause: it cleans up, and there is no hurry.
        wake: Set to end the pause early.
        broken: Set when a step ended in a bug.
    """

    name: str
    step: Callable[[], bool]
    period_s: float
    rests: float = 0.0
    patient: bool = False
    wake: threading.Event = field(default_factory=threading.Event)
    broken: threading.Event = field(default_factory=threading.Event)


def wake(duties: Sequence[Duty]) -> None:
    """End the pauses of all duties that what has come in may concern."""
    for duty in duties:
        if not duty.patient:
            duty.wake.set()


@contextmanager
def attended(duties: Sequence[Duty], stop: threading.Event) -> Iterator[None]:
    """Do every duty for as long as the context lasts, and let each finish its step at the end.

    Args:
        duties: What to do.
        stop: Is set when a duty ends in a bug, so that whoever waits in the context leaves it.

    Raises:
        SystemExit: A duty ended in a bug.
    """
    resign = threading.Event()
    threads = [
        threading.Thread(target=_keep_doing, args=(duty, resign, stop), name=duty.name)
        for duty in duties
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        resign.set()
        for duty in duties:
            duty.wake.set()
        for thread in threads:
            thread.join()
    broken = [duty.name for duty in duties if duty.broken.is_set()]
    if broken:
        raise SystemExit(f"the duty {broken[0]!r} ended in a bug; see the log")


def _keep_doing(duty: Duty, resign: threading.Event, stop: threading.Event) -> None:
    """Step until resigned; an unwell world is waited out, a bug ends the process."""
    wait_s = duty.period_s
    while not resign.is_set():
        duty.wake.clear()
        began = time.monotonic()
        try:
            more = duty.step()
            rest_s = duty.rests * (time.monotonic() - began)
            wait_s = BUSY_S if more else max(duty.period_s, rest_s)
        except WorldError as exc:
            log.warning("duty.delayed", duty=duty.name, reason=str(exc))
            wait_s = min(max(wait_s, 0.25) * 2, WORST_WAIT_S)
        except BaseException:
            duty.broken.set()
            stop.set()
            raise
        duty.wake.wait(wait_s)
