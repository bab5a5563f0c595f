"""How long this process puts up with a ledger that does not answer: until it is told to stop."""

import threading

import structlog
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)

from scheduler.errors import LedgerUnavailable

log = structlog.get_logger()


def until(stop: threading.Event) -> Retrying:
    """Return a caller that repeats while the ledger is away; it raises that once `stop` is set."""
    return Retrying(
        retry=retry_if_exception_type(LedgerUnavailable),
        wait=wait_random_exponential(multiplier=0.1, max=3.0),
        stop=stop_when_event_set(stop),
        sleep=sleep_using_event(stop),
        before_sleep=_tell,
        reraise=True,
    )


def _tell(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        log.warning("ledger.unavailable", reason=str(state.outcome.exception()))
