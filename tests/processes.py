"""Looking at real processes from outside, with bounded patience."""

import time
from collections.abc import Callable

import psutil


def eventually(fact: Callable[[], object], *, within_s: float = 20.0) -> None:
    """Wait for something that other processes bring about; fail when it does not come."""
    deadline = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < deadline, f"did not happen within {within_s} s"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that ended but was not collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(pid: int) -> list[int]:
    """Return the ids of all that a process has started, directly or not."""
    return [process.pid for process in psutil.Process(pid).children(recursive=True)]
