"""Waiting for what other processes bring about: by looking again and again, never for ever."""

import time
from collections.abc import Callable

from models.errors import WorldError

LOOK_S = 0.02


def wait_for(what: str, fact: Callable[[], object], *, within_s: float) -> None:
    """Return as soon as `fact` holds; a server that is away while we look is no answer yet.

    Raises:
        AssertionError: It did not come about in time.
    """
    deadline = time.monotonic() + within_s
    while not _holds(fact):
        assert time.monotonic() < deadline, f"waited {within_s:g} s in vain for {what}"
        time.sleep(LOOK_S)


def _holds(fact: Callable[[], object]) -> bool:
    try:
        return bool(fact())
    except WorldError:
        return False
