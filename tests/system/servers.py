"""PostgreSQL and Redis of these tests' own, to be killed and restarted while a system works."""

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import redis as redis_client
from pydantic import SecretStr

from scheduler.children import Restarts, Supervisor
from scheduler.embedded import redis
from scheduler.embedded.postgres import DATABASE, Postgres
from scheduler.ledger.session import upgrade
from scheduler.settings import Settings
from tests.system.waiting import wait_for

RESTARTS = Restarts(first_s=0.5, longest_s=2.0, quick_deaths=10**6)
BACK_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Servers:
    """Both servers, supervised: what is killed comes back with the same address and data."""

    postgres: Postgres
    redis: redis.Redis

    def restart_postgres(self, how: signal.Signals) -> None:
        """End the server and wait until it is back: SIGINT lets it shut down, SIGKILL does not."""
        before = self._postmaster()
        os.kill(before, how)
        wait_for("PostgreSQL to be back", lambda: self._is_new_postmaster(before), within_s=BACK_S)

    def restart_redis(self, how: signal.Signals) -> None:
        """End the server and wait until it is back, empty."""
        with self.connect() as client:
            before = client.info("server")["process_id"]
        os.kill(before, how)
        wait_for("Redis to be back", lambda: self._is_new_redis(before), within_s=BACK_S)

    def flush_redis(self) -> None:
        """Let Redis forget everything."""
        with self.connect() as client:
            client.flushall()

    def connect(self) -> redis_client.Redis:
        """Return a client for looking and meddling."""
        return redis_client.Redis.from_url(self.redis.url)

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the address of a new database with the newest schema."""
        name = f"test_{uuid.uuid4().hex}"
        maintenance = self.postgres.url("postgres")
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(f"create database {name} template {DATABASE}")
        yield self.postgres.url(name)
        with psycopg.connect(maintenance, autocommit=True) as connection:
            connection.execute(f"drop database {name} with (force)")

    def _postmaster(self) -> int:
        return int((self.postgres.data / "postmaster.pid").read_text().split()[0])

    def _is_new_postmaster(self, before: int) -> bool:
        try:
            return self._postmaster() != before and self.postgres.answers()
        except (FileNotFoundError, IndexError):  # between its end and its start
            return False

    def _is_new_redis(self, before: int) -> bool:
        try:
            with self.connect() as client:
                return bool(client.info("server")["process_id"] != before)
        except redis_client.RedisError:
            return False


@contextmanager
def serve(folder: Path) -> Iterator[Servers]:
    """Run both servers in a folder.

    Raises:
        ServerMissing: One is not installed.
    """
    servers = Servers(
        postgres=Postgres(folder=folder / "pg", log=folder / "postgres.log", durable=False),
        redis=redis.fresh(folder / "redis", folder / "redis.log"),
    )
    with Supervisor(restarts=RESTARTS) as supervisor:
        servers.redis.prepare()
        supervisor.start(servers.redis.child())
        servers.postgres.prepare()
        supervisor.start(servers.postgres.child())
        servers.postgres.create_database()
        upgrade(Settings(database_url=SecretStr(servers.postgres.url())))
        yield servers
    servers.postgres.remove_socket_folder()
