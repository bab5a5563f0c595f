"""One process of the system under test, under the product's own keeper: it dies with the tests."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from scheduler import keeper
from tests.system.waiting import wait_for

TAIL_BYTES = 3000


class Process:
    """A running command; its output goes to a log.

    Attributes:
        name: For people.
        log: Where its output goes.
        told: Whether it got a signal from us, so that its end is no surprise.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.log = log
        self.told = False
        log.touch()
        task = keeper.Task(command=list(command), log=str(log), folder=None, uid=None, gid=None)
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", keeper.__file__, json.dumps(task._asdict())],
            env=dict(env),
            stdin=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The keeper's id; the command is its child."""
        return self._keeper.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._keeper.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """Send the command, and not its keeper, a signal."""
        assert self._keeper.stdin is not None
        self.told = True
        self._keeper.stdin.write(bytes([number]))

    def wait(self, within_s: float = 30.0) -> int:
        """Return the exit status, or 128 + the signal that ended it."""
        wait_for(f"the end of {self.name}", lambda: not self.running, within_s=within_s)
        return self._keeper.returncode

    def kill(self) -> None:
        """Kill it as an empty battery does, and return when it is gone."""
        if self.running:
            self.signal(signal.SIGKILL)
        self.wait()
        self.close()

    def close(self) -> None:
        """Kill whatever is left and give back the pipe."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait(timeout=30)

    def age_and_bytes(self) -> tuple[float, int]:
        """Return for how many seconds the command has run, and its memory; zeros once it ended."""
        try:
            for command in psutil.Process(self.pid).children():
                return time.time() - command.create_time(), int(command.memory_info().rss)
        except psutil.NoSuchProcess:
            pass
        return 0.0, 0

    def said(self, words: str) -> int:
        """Count how often the log has some words."""
        return self.log.read_text(errors="replace").count(words)

    def tail(self) -> str:
        """Return the end of the log."""
        data = self.log.read_bytes()[-TAIL_BYTES:]
        return data.decode(errors="replace")
