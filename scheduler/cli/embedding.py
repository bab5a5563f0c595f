"""Doing something while a whole system runs on this machine."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from scheduler import logs, settings
from scheduler.cli.connection import System, opened
from scheduler.cli.output import say
from scheduler.embedded import system as embedded
from scheduler.embedded.home import Home
from scheduler.embedded.system import Api


def embed(work: Callable[[System], bool], *, api: Api | None = None) -> bool:
    """Bring the system in ENLARGER_HOME up, or join it; work; take it down again.

    Args:
        work: What to do meanwhile.
        api: Where an HTTP interface is to listen, if there is to be one; then nothing is joined.

    Returns:
        What `work` does.

    Raises:
        KeyboardInterrupt: Ctrl-C or SIGTERM; by then the system is down, in good order.
    """
    loaded = settings.load()
    logs.configure(loaded, level="error")
    signal.signal(signal.SIGTERM, _interrupt)
    say("Starting the system (PostgreSQL, Redis, a scheduler, a worker) …")
    try:
        with (
            embedded.start(loaded, api=api) as running,
            opened(running, home=Home.at(running.home)) as system,
        ):
            return _until_interrupted(work, system)
    except KeyboardInterrupt:
        say("Stopped. The same command again goes on where this one stopped.")
        raise


def _until_interrupted(work: Callable[[System], bool], system: System) -> bool:
    try:
        return work(system)
    except KeyboardInterrupt:
        say("Stopping: what has begun is finished or put back …")
        raise


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Let SIGTERM unwind the command as Ctrl-C does."""
    raise KeyboardInterrupt
