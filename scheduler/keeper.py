"""Runs one command and lets nothing of it outlive who asked for it; `scheduler.children` starts it.

A keeper is a small process with one thread between a parent and its child:

    parent --pipe--> keeper --fork--> child --> whatever the child starts

- The parent dies, by whatever means: the pipe ends, and the keeper kills everything below it. As
  a "subreaper" it adopts the orphans among its descendants, so none leaves by forking twice.
- The keeper is killed: the kernel kills the child (PR_SET_PDEATHSIG, bound to the *thread* that
  forked, which is why a keeper has only one), and the parent kills the process group.
- Both are killed at once: the kernel kills the child, whose own keepers see their pipes end.

Only a killed keeper can lose something: what left the process group on its own. Of our children
PostgreSQL does that, and its sessions end with their server.

Where the kernel is not Linux, the first two hold, for the process group.

Each byte on standard input is the number of a signal for the child. The child's output is copied
to a log of bounded size. Standard library only: it starts fast, from any folder.
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
from pathlib import Path
from typing import NamedTuple

LOG_LIMIT_BYTES = 8 * 2**20
"""A log that would outgrow this becomes `NAME.1`; the previous `NAME.1` goes."""

CHUNK_BYTES = 65536
ORDERS = 0  # standard input: the pipe from the parent
NOT_STARTED = 127  # what shells answer for a command that could not be executed
ON_LINUX = sys.platform == "linux"
PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36
TAKEN_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Task(NamedTuple):
    """What a keeper is started with, as JSON in its only argument; never a secret."""

    command: list[str]
    log: str
    folder: str | None
    """The working directory, entered before the user changes, who may not reach it by name."""
    uid: int | None
    gid: int | None


class Log:
    """An append-only file of bounded size."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Append the bytes, in a new file if the old one is full."""
        if self.file.tell() + len(data) > LOG_LIMIT_BYTES:
            self.file.close()
            self.path.replace(f"{self.path}.1")
            self.file = self.path.open("ab", buffering=0)
        self.file.write(data)


def main() -> int:
    """Keep one child; return its exit status, or 128 + the signal that ended it."""
    task = Task(**json.loads(sys.argv[1]))
    if ON_LINUX:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    for number in TAKEN_SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # orders come through the pipe alone
    deaths = notice_deaths()
    output, child_output = os.pipe()
    child = start(task, child_output)
    os.close(child_output)
    return tend(child, output, deaths, Log(Path(task.log)))


def notice_deaths() -> int:
    """Return a file descriptor that becomes readable whenever a child ends."""
    deaths, wake = os.pipe()
    os.set_blocking(deaths, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    return deaths


def start(task: Task, output: int) -> int:
    """Fork the child and return its process id."""
    keeper = os.getpid()
    # Held back until the child answers them by itself: until then it ignores them, as we do.
    signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN_SIGNALS)
    child = os.fork()
    if child == 0:
        try:
            become(task, output, keeper)
        except OSError as exc:
            os.write(2, f"{task.command[0]}: {exc}\n".encode())
        finally:
            os._exit(NOT_STARTED)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN_SIGNALS)
    return child


def become(task: Task, output: int, keeper: int) -> None:
    """Turn the forked process into the command; come back only by an OSError."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    if task.folder is not None:
        os.chdir(task.folder)
    if task.uid is not None and task.gid is not None:
        os.setgroups([])
        os.setgid(task.gid)
        os.setuid(task.uid)
    for number in (*TAKEN_SIGNALS, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_DFL)  # Python ignores SIGPIPE, and exec would keep that
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN_SIGNALS)
    if ON_LINUX:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # last: a change of user clears it
        if os.getppid() != keeper:
            os._exit(NOT_STARTED)  # the keeper died before the kernel was told
    os.execvp(task.command[0], task.command)  # noqa: S606 - a shell is what we don't want


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process (Linux)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def tend(child: int, output: int, deaths: int, log: Log) -> int:
    """Hand orders down and output on until the child ends, or the parent does."""
    watched = [ORDERS, output, deaths]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if output in ready and not copy_output(output, log):
            watched.remove(output)  # the child closed it, and may well live on
        if deaths in ready:
            os.read(deaths, CHUNK_BYTES)
            status = reap(child)
            if status is not None:
                kill_descendants()
                drain(output, log)
                return status
        if ORDERS in ready and not obey(child):
            kill_descendants()
            os.killpg(0, signal.SIGKILL)  # what has no subreaper, and this process


def copy_output(output: int, log: Log) -> bool:
    """Copy what is there to the log; False once there will be no more."""
    data = os.read(output, CHUNK_BYTES)
    log.write(data)
    return bool(data)


def drain(output: int, log: Log) -> None:
    """Copy the last words of a child that has ended."""
    os.set_blocking(output, False)
    with contextlib.suppress(BlockingIOError):
        while copy_output(output, log):
            pass


def obey(child: int) -> bool:
    """Send the child the signals that were ordered; False once the parent is gone."""
    orders = os.read(ORDERS, CHUNK_BYTES)
    for number in orders:
        os.kill(child, number)  # not reaped yet, so the id is still its own
    return bool(orders)


def reap(child: int) -> int | None:
    """Collect all that have ended; return the child's status if it was among them."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
                found = code if code >= 0 else 128 - code
            if pid == 0:
                break
    return found


def kill_descendants() -> None:
    """Kill until nobody is left: with each death this process adopts the orphans of the dead."""
    with contextlib.suppress(ChildProcessError):
        while True:
            for pid in children():
                os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)


def children() -> list[int]:
    """Return the ids of this process's children that were not collected yet."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # "pid (name) state parent …"; the name may hold anything, brackets and spaces too.
            after_name = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(after_name[1]) == os.getpid():
                found.append(int(folder.name))
    return found


if __name__ == "__main__":
    sys.exit(main())
