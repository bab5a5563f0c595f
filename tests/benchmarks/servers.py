"""PostgreSQL, with every commit on disk, and Redis for one run, and the processes under test."""

import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from pydantic import SecretStr

from scheduler.children import Child, Restarts, Supervisor
from scheduler.embedded import redis
from scheduler.embedded.postgres import Postgres
from scheduler.embedded.system import environment
from scheduler.ledger.session import upgrade
from scheduler.settings import Settings
from tests.processes import eventually

HERE = Path(__file__).parents[2]
FOREIGN = ("ENLARGER_", "AWS_", "PG", "CELERY_")
FSYNCS = 50


@dataclass(frozen=True, kw_only=True)
class Servers:
    """The two servers, running.

    Attributes:
        folder: For whatever a benchmark writes; gone after the run.
        postgres: Waits for the disk at every commit.
        redis_url: Keeps nothing on disk.
        fsync_ms: What one small write with fsync costs where the database lies.
    """

    folder: Path
    postgres: Postgres
    redis_url: str
    fsync_ms: float

    @contextmanager
    def system(self) -> Iterator[Settings]:
        """Yield settings for a new, empty database and a key prefix of its own."""
        name = f"bench_{uuid.uuid4().hex}"
        with psycopg.connect(self.postgres.url("postgres"), autocommit=True) as connection:
            connection.execute(f"create database {name}")
            settings = Settings(
                database_url=SecretStr(self.postgres.url(name)),
                redis_url=SecretStr(self.redis_url),
                redis_prefix=f"{name}:",
                home=self.folder / name,
            )
            upgrade(settings)
            yield settings
            connection.execute(f"drop database {name} with (force)")


@contextmanager
def servers() -> Iterator[Servers]:
    """Start both servers in a temporary folder and stop them at the end."""
    for name in [each for each in os.environ if each.startswith(FOREIGN)]:
        del os.environ[name]  # what the machine has configured would be measured as well
    with tempfile.TemporaryDirectory(prefix="enlarger-bench-") as name, Supervisor() as supervisor:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may run as somebody else
        postgres = Postgres(folder=folder / "postgres", log=folder / "postgres.log")
        queue = redis.fresh(folder / "redis", folder / "redis.log")
        postgres.prepare()
        supervisor.start(postgres.child())
        queue.prepare()
        supervisor.start(queue.child())
        yield Servers(
            folder=folder, postgres=postgres, redis_url=queue.url, fsync_ms=_fsync_ms(folder)
        )
        supervisor.stop()
        postgres.remove_socket_folder()


def _fsync_ms(folder: Path) -> float:
    path = folder / "fsync"
    with path.open("wb", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(FSYNCS):
            file.write(b"x" * 8192)
            os.fsync(file.fileno())
        return (time.perf_counter() - began) / FSYNCS * 1000


@contextmanager
def process(
    name: str, *arguments: str, folder: Path, env: Mapping[str, str]
) -> Iterator[psutil.Process]:
    """Run a Python program beside the measuring process, and stop it by SIGTERM at the end.

    Raises:
        ChildGaveUp: It died by itself; the end of its log is in the message.
    """
    command = (sys.executable, *arguments)
    child = Child(
        name=name, command=command, env=env, log=folder / f"{name}.log", folder=HERE, grace_s=30
    )
    with Supervisor(restarts=Restarts(quick_deaths=1)) as supervisor:
        supervisor.start(child)
        try:
            eventually(lambda: _find(command))
            yield _find(command)[0]
        finally:
            supervisor.check()  # the reason behind whatever else went wrong


def _find(command: tuple[str, ...]) -> list[psutil.Process]:
    """Look among our descendants: between us and the program there is its keeper."""
    return [
        each
        for each in psutil.Process().children(recursive=True)
        if each.status() != psutil.STATUS_ZOMBIE and each.cmdline() == list(command)
    ]


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the environment that gives a child these settings and any S3 credentials."""
    keys = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
    return environment(settings) | keys | {"AWS_DEFAULT_REGION": "us-east-1"}


def peak_bytes(found: psutil.Process) -> int:
    """Return the most memory (RSS) that a process ever had; off Linux, what it has now."""
    try:
        status = Path(f"/proc/{found.pid}/status").read_text()
    except FileNotFoundError:
        return int(found.memory_info().rss)
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024
