"""ENLARGER_HOME: one process holds it at a time, and tells the others where its servers are."""

import fcntl
import json
import os
import secrets
import shlex
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self, TextIO

from scheduler.errors import HomeUnusable


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a home."""

    pid: int
    command: str
    since: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.command}) since {self.since}"


@dataclass(frozen=True, kw_only=True)
class Addresses:
    """What a running system tells the other processes of its user."""

    pid: int
    children: list[str]
    """Which of our commands run, besides the servers."""
    database_url: str
    redis_url: str


@dataclass(frozen=True, kw_only=True)
class Home:
    """The folder in which an embedded system keeps its state."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Self:
        """Return the home at a path that may begin with `~`; make it, for this user alone.

        Raises:
            HomeUnusable: The folder can't be made or written to.
        """
        real = folder.expanduser().resolve()
        try:
            real.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as exc:
            raise _unusable(real, exc) from exc
        if not os.access(real, os.W_OK | os.X_OK):
            raise _unusable(real, PermissionError("it can't be written to"))
        return cls(folder=real)

    @property
    def logs(self) -> Path:
        """Where every process of the system has its log."""
        return self.folder / "logs"

    @property
    def files(self) -> str:
        """The address of the folder for files of requests over HTTP."""
        return (self.folder / "files").as_uri() + "/"

    def secret(self) -> str:
        """Return the home's own secret key, drawn when it is first asked for."""
        path = self.folder / "secret"
        with suppress(FileExistsError):
            drawn = self.folder / f"secret.{secrets.token_hex(4)}"
            drawn.touch(mode=0o600)
            drawn.write_text(secrets.token_hex(32), "ascii")
            try:
                os.link(drawn, path)  # whole or not at all, and never a second one
            finally:
                drawn.unlink()
        return path.read_text("ascii")

    def take(self) -> TextIO | None:
        """Take the lock; None while somebody else has it.

        Returns:
            The open lock file; closing it, or dying, gives the home back.

        Raises:
            HomeUnusable: The folder's file system has no locks.
        """
        file = (self.folder / "lock").open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        except OSError as exc:
            file.close()
            raise _unusable(self.folder, exc) from exc
        file.truncate(0)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        holder = Holder(pid=os.getpid(), command=shlex.join(sys.argv), since=now)
        json.dump(asdict(holder), file)
        file.flush()
        return file

    def is_held(self) -> bool:
        """Tell whether a process is there that runs a system here, and has not begun to stop it."""
        addresses = self.published()
        if addresses is None:
            return False
        try:
            os.kill(addresses.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def holder(self) -> Holder | None:
        """Return who took the lock last; None while that is being written."""
        try:
            return Holder(**json.loads((self.folder / "lock").read_text("utf-8")))
        except (ValueError, TypeError):
            return None

    def publish(self, addresses: Addresses) -> None:
        """Tell others where the servers are; the file holds a password and is private."""
        unfinished = self.folder / "system.json.unfinished"
        unfinished.unlink(missing_ok=True)
        unfinished.touch(mode=0o600)
        unfinished.write_text(json.dumps(asdict(addresses)), "utf-8")
        unfinished.replace(self.folder / "system.json")

    def withdraw(self) -> None:
        """Take back what was published."""
        (self.folder / "system.json").unlink(missing_ok=True)

    def published(self) -> Addresses | None:
        """Return where the holder's servers are; None unless it is the holder who said so."""
        try:
            addresses = Addresses(**json.loads((self.folder / "system.json").read_text("utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            return None
        holder = self.holder()
        return addresses if holder is not None and holder.pid == addresses.pid else None


def _unusable(folder: Path, exc: OSError) -> HomeUnusable:
    reason = exc.strerror or str(exc)
    return HomeUnusable(
        f"home: {folder} can't hold an embedded system: {reason}; set ENLARGER_HOME to a folder"
        " of yours on a local disk",
        field="home",
    )
