"""Child processes that are restarted when they die, stopped in order, and never left behind.

Each child runs under a keeper (`scheduler.keeper`) in a session of its own, so Ctrl-C in the
terminal reaches only the parent, and nothing survives even a `kill -9` of the parent or the keeper.
"""

import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from scheduler import keeper
from scheduler.errors import ChildGaveUp

log = structlog.get_logger(__name__)

READY_POLL_S = 0.05
KILL_WAIT_S = 10.0
TAIL_BYTES = 2000


@dataclass(frozen=True, kw_only=True)
class Child:
    """A process to be kept running."""

    name: str
    command: tuple[str, ...]
    env: Mapping[str, str]
    """The whole environment, not an addition to ours."""
    log: Path
    """Gets standard output and error; kept small."""
    folder: Path | None = None
    """The working directory; may be one that `user` could not reach by its name."""
    user: str | None = None
    """Who it runs as; only root can ask for somebody else."""
    stop_signal: signal.Signals = signal.SIGTERM
    grace_s: float = 10.0
    """How long it may take to stop before it is killed."""
    ready: Callable[[], bool] | None = None
    """Whether it serves; asked again and again after its first start."""
    ready_s: float = 60.0
    hopeless: int | None = None
    """The exit status by which it says that it would end so again, however often it is started."""


@dataclass(frozen=True, kw_only=True)
class Restarts:
    """When a child that died starts again, and when not."""

    first_s: float = 0.25
    """Wait after the first death; doubles with each quick one."""
    longest_s: float = 30.0
    quick_s: float = 10.0
    """A child that lived shorter than this died quickly."""
    quick_deaths: int = 5
    """So many quick deaths in a row, and it is given up."""


class Supervisor:
    """Starts children and stops them in reverse order.

    A context manager: leaving it stops whatever was started.
    """

    def __init__(
        self, *, restarts: Restarts | None = None, on_failure: Callable[[], None] | None = None
    ) -> None:
        """Supervise nothing yet.

        Args:
            restarts: The policy for all children.
            on_failure: Called once per child that is given up, from another thread.
        """
        self._restarts = restarts or Restarts()
        self._on_failure = on_failure
        self._tended: list[_Tended] = []
        self._failed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, child: Child) -> None:
        """Start a child and wait until it is ready.

        Raises:
            ChildGaveUp: when any child of this supervisor was given up, or this one is not ready
                in time.
        """
        tended = _Tended(child, self._restarts, self._report)
        self._tended.append(tended)
        tended.start()
        deadline = time.monotonic() + child.ready_s
        while child.ready is not None and not child.ready():
            self.wait(READY_POLL_S)
            if time.monotonic() > deadline:
                raise ChildGaveUp(
                    child.name,
                    reason=f"it was not ready within {child.ready_s:g} s",
                    log=child.log,
                    tail=tail(child.log),
                )
        log.info("child.ready", child=child.name)

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until the time is over or a child is given up.

        Raises:
            ChildGaveUp: the first failure, if there was one.
        """
        self._failed.wait(timeout_s)
        self.check()

    def check(self) -> None:
        """Raise the failure of the first child that was given up, if there was one."""
        for tended in self._tended:
            if tended.failure is not None:
                raise tended.failure

    def stop(self) -> None:
        """Stop all children, the youngest first; return when the last process is gone.

        Interrupted (a second Ctrl-C), it kills those that are left.
        """
        try:
            while self._tended:
                self._tended[-1].stop()
                self._tended.pop()
        finally:
            for tended in self._tended:
                tended.kill()

    def _report(self) -> None:
        self._failed.set()
        if self._on_failure is not None:
            self._on_failure()


def finish(child: Child, *, timeout_s: float) -> None:
    """Run a child to its end, once.

    Raises:
        ChildGaveUp: when it ends with another status than 0, or not in time.
    """
    kept = _Kept(child)
    timer = threading.Timer(timeout_s, kept.kill)
    timer.start()
    try:
        status = kept.wait()
    finally:
        timer.cancel()
        kept.kill()
    if status != 0:
        raise ChildGaveUp(
            child.name, reason=f"it {ending(status)}", log=child.log, tail=tail(child.log)
        )


def tail(path: Path) -> str:
    """Return the last lines of a log, at most `TAIL_BYTES`."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TAIL_BYTES))
        return file.read().decode(errors="replace").strip()


def ending(status: int) -> str:
    """Say how a process ended, by the status of its keeper."""
    if status < 0 or status > 128:
        number = -status if status < 0 else status - 128
        return f"was ended by signal {number}"
    return f"ended with status {status}"


class _Kept:
    """One running keeper with its child."""

    def __init__(self, child: Child) -> None:
        self._pipe = threading.Lock()  # no byte may go to a number that was closed and used again
        child.log.parent.mkdir(parents=True, exist_ok=True)
        with child.log.open("ab") as complaints:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and file
                # Isolated and without site-packages: nothing but the standard library.
                [sys.executable, "-I", "-S", keeper.__file__, json.dumps(_task(child)._asdict())],
                env=child.env,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                bufsize=0,
                start_new_session=True,
            )

    def send(self, number: signal.Signals) -> None:
        """Send the child a signal, unless it has ended."""
        assert self._process.stdin is not None
        with self._pipe, contextlib.suppress(BrokenPipeError):
            if not self._process.stdin.closed:
                self._process.stdin.write(bytes([number]))

    def kill(self) -> None:
        """Have the keeper kill the child and all that it started."""
        assert self._process.stdin is not None
        with self._pipe:
            self._process.stdin.close()

    def kill_group(self) -> None:
        """Kill keeper and child without the keeper's help."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Return the keeper's exit status when it and its process group are gone."""
        if sys.platform == "linux":
            # Not collected yet, the keeper's id can't belong to anybody else's group.
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            self.kill_group()
        status = self._process.wait()
        if sys.platform != "linux":
            self.kill_group()
        self.kill()  # closes our end of the pipe
        return status


def _task(child: Child) -> keeper.Task:
    entry = None if child.user is None else pwd.getpwnam(child.user)
    return keeper.Task(
        command=list(child.command),
        log=str(child.log),
        folder=None if child.folder is None else str(child.folder),
        uid=None if entry is None else entry.pw_uid,
        gid=None if entry is None else entry.pw_gid,
    )


class _Tended:
    """A child over all of its lives, with the thread that restarts it."""

    def __init__(self, child: Child, restarts: Restarts, report: Callable[[], None]) -> None:
        self.failure: ChildGaveUp | None = None
        self._child = child
        self._restarts = restarts
        self._report = report
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # between a restart and a stop
        self._kept: _Kept | None = None
        self._thread = threading.Thread(target=self._tend, name=f"tend-{child.name}", daemon=True)

    def start(self) -> None:
        self._kept = _Kept(self._child)
        self._thread.start()

    def stop(self) -> None:
        """Ask the child to stop, wait for its grace, then kill it."""
        with self._lock:
            self._stopping.set()
            kept = self._kept
        if kept is None or self._thread.ident is None:
            return
        kept.send(self._child.stop_signal)
        self._thread.join(self._child.grace_s)
        if self._thread.is_alive():
            log.warning("child.killed", child=self._child.name, grace_s=self._child.grace_s)
            self.kill()

    def kill(self) -> None:
        """End the child at once."""
        self._stopping.set()
        with self._lock:
            kept = self._kept
        if kept is None:
            return
        kept.kill()
        self._thread.join(KILL_WAIT_S)
        if self._thread.is_alive():  # not even the keeper answers
            kept.kill_group()
            self._thread.join()

    def _tend(self) -> None:
        quick_deaths = 0
        while self._kept is not None:
            began = time.monotonic()
            status = self._kept.wait()
            if self._stopping.is_set():
                return
            lived_s = time.monotonic() - began
            quick_deaths = quick_deaths + 1 if lived_s < self._restarts.quick_s else 1
            log.warning("child.died", child=self._child.name, status=status, lived_s=lived_s)
            if status == self._child.hopeless:
                self._give_up("as it is set up, it can't work", hopeless=True)
                return
            if quick_deaths >= self._restarts.quick_deaths:
                self._give_up(
                    f"it died {quick_deaths} times in a row within {self._restarts.quick_s:g} s"
                    f" of its start; the last time it {ending(status)}"
                )
                return
            try:
                self._restart(quick_deaths)
            except OSError as exc:
                self._give_up(f"it could not be started again: {exc}")
                return

    def _restart(self, quick_deaths: int) -> None:
        """Start again after a while, unless a stop comes first."""
        wait_s = self._restarts.first_s * 2.0 ** (quick_deaths - 1)
        self._stopping.wait(min(wait_s, self._restarts.longest_s))
        with self._lock:
            self._kept = None if self._stopping.is_set() else _Kept(self._child)

    def _give_up(self, reason: str, *, hopeless: bool = False) -> None:
        child = self._child
        self.failure = ChildGaveUp(
            child.name, reason=reason, log=child.log, tail=tail(child.log), hopeless=hopeless
        )
        log.error("child.gave_up", child=child.name, reason=reason)
        self._report()
