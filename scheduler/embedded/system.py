"""The whole system on one machine: servers, scheduler and worker, living in ENLARGER_HOME.

Whoever holds the home starts and stops everything; a second run joins it. What runs is the code
that production runs: only the addresses of PostgreSQL and Redis are found, not configured.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import structlog
import urllib3
from pydantic import SecretStr
from redis import Redis, RedisError

from scheduler.children import Child, Supervisor
from scheduler.embedded import redis
from scheduler.embedded.home import Addresses, Home
from scheduler.embedded.postgres import Postgres
from scheduler.errors import HomeHeld, HomeUnusable
from scheduler.ledger.session import upgrade
from scheduler.settings import Settings

log = structlog.get_logger(__name__)

COMMANDS = ("scheduler", "worker")
"""The commands of ours that make a whole system; without them it is only the two servers."""

SET_UP_WRONGLY = 2
"""The exit status of a worker that a setting keeps from working."""

JOIN_WAIT_S = 60.0
NO_JOINING = "that has no HTTP interface here, or another one"
JOIN_POLL_S = 0.2
STOP_MARGIN_S = 10.0
PACKAGES = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Api:
    """Where an embedded HTTP interface listens."""

    host: str
    port: int

    @property
    def command(self) -> tuple[str, ...]:
        """What it is started by."""
        return ("api", "--host", self.host, "--port", str(self.port))

    @property
    def url(self) -> str:
        """Where it is for this machine; one that listens everywhere is at home here, too."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        return f"http://{host}:{self.port}"

    def answers(self) -> bool:
        """Whether it serves."""
        try:
            with urllib3.PoolManager(timeout=5, retries=False) as pool:
                return pool.request("GET", f"{self.url}/healthz").status == 200
        except urllib3.exceptions.HTTPError:
            return False


@contextmanager
def start(
    settings: Settings, *, children: Sequence[str] = COMMANDS, api: Api | None = None
) -> Iterator[Settings]:
    """Bring the system up, or join the one that is; yield settings with its addresses.

    Whoever brought it up takes it down again on leaving. When a child dies too often, the main
    thread is interrupted as by Ctrl-C, and leaving raises what happened. To be entered in the
    main thread.

    Args:
        settings: Of these, `home` says where; all that were set reach the children.
        children: Commands of `enlarger` to keep running: all, or none for the servers alone.
        api: Where the HTTP interface is to listen; None where there is to be none.

    Raises:
        HomeHeld: Another process holds the home, and can't be joined.
        HomeUnusable: The home is no place for this version.
        ServerMissing: PostgreSQL or Redis is not installed.
        ChildGaveUp: A child died too often.
    """
    home = Home.at(settings.home)
    deadline = time.monotonic() + JOIN_WAIT_S
    while True:
        lock = home.take()
        if lock is not None:
            with lock, _running(home, settings, children, api) as running:
                yield running
            return
        joined = None if api else _join(home, settings, children)
        if joined is not None:
            yield joined
            return
        if time.monotonic() > deadline:
            raise _held(home, NO_JOINING if api else "its servers don't answer")
        time.sleep(JOIN_POLL_S)


@contextmanager
def _running(
    home: Home, settings: Settings, children: Sequence[str], api: Api | None
) -> Iterator[Settings]:
    """Run the system while this process holds the home."""
    interrupting = threading.Event()

    def interrupt() -> None:
        if interrupting.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    postgres = Postgres(folder=home.folder / "postgres", log=home.logs / "postgres.log")
    queue = redis.fresh(home.folder / "redis", home.logs / "redis.log")
    with ExitStack() as stack:
        stack.callback(postgres.remove_socket_folder)
        supervisor = stack.enter_context(Supervisor(on_failure=interrupt))
        _start_servers(supervisor, postgres, queue)
        running = _with_addresses(settings, home, postgres.url(), queue.url)
        _upgrade(running, home)
        for command in children:
            supervisor.start(_command((command,), running, home))
        if api is not None:
            child = _command(api.command, running, home)
            supervisor.start(replace(child, ready=api.answers))
        home.publish(
            Addresses(
                pid=os.getpid(),
                children=list(children),
                database_url=postgres.url(),
                redis_url=queue.url,
            )
        )
        interrupting.set()
        try:
            supervisor.check()
            yield running
        finally:
            interrupting.clear()
            home.withdraw()
            supervisor.check()  # the reason behind whatever else went wrong


def _start_servers(supervisor: Supervisor, postgres: Postgres, queue: redis.Redis) -> None:
    queue.prepare()
    supervised = queue.child()  # before all that takes time: Redis may be missing
    postgres.prepare()
    supervisor.start(postgres.child())
    postgres.create_database()
    supervisor.start(supervised)


def _upgrade(running: Settings, home: Home) -> None:
    newer = upgrade(running)
    if newer is not None:
        raise HomeUnusable(
            f"home: {home.folder} was used by a newer version of Enlarger (schema {newer}); install"
            " that version, or set another ENLARGER_HOME",
            field="home",
        )


def _with_addresses(settings: Settings, home: Home, database_url: str, redis_url: str) -> Settings:
    secret = settings.secret_key or SecretStr(home.secret())
    return settings.model_copy(
        update={
            "home": home.folder,
            "files": settings.files or home.files,
            "secret_key": secret,
            "database_url": SecretStr(database_url),
            "redis_url": SecretStr(redis_url),
        }
    )


def _command(command: tuple[str, ...], running: Settings, home: Home) -> Child:
    """Return one of our commands as a child."""
    return Child(
        name=command[0],
        # -P: what lies in the user's working directory must not be imported.
        command=(sys.executable, "-P", "-m", "scheduler.cli", *command),
        env=environment(running),
        log=home.logs / f"{command[0]}.log",
        grace_s=running.grace_s + STOP_MARGIN_S,
        hopeless=SET_UP_WRONGLY,
    )


def environment(running: Settings) -> dict[str, str]:
    """Return our environment with all settings that were set, wherever they came from."""
    environment = dict(os.environ)
    known = os.environ.get("PYTHONPATH")
    environment["PYTHONPATH"] = os.pathsep.join([str(PACKAGES), *([known] if known else [])])
    for name in running.model_fields_set:
        value = getattr(running, name)
        key = f"{running.model_config['env_prefix']}{name}".upper()
        if value is None:
            environment.pop(key, None)
        else:
            environment[key] = _written(value)
    return environment


def _written(value: object) -> str:
    """Return a setting's value as its environment variable has it."""
    match value:
        case SecretStr():
            return value.get_secret_value()
        case tuple():
            return ",".join(map(str, value))
        case dict():
            return json.dumps(value)
    return str(value)


def _join(home: Home, settings: Settings, children: Sequence[str]) -> Settings | None:
    """Return settings for the system that another process runs; None while it isn't up.

    Raises:
        HomeHeld: It is up, and runs less than is wanted.
    """
    addresses = home.published()
    if addresses is None or not _answers(addresses):
        return None
    missing = set(children) - set(addresses.children)
    if missing:
        raise _held(home, f"it runs no {' and no '.join(sorted(missing))}")
    log.info("system.joined", home=str(home.folder), pid=addresses.pid)
    return _with_addresses(settings, home, addresses.database_url, addresses.redis_url)


def _answers(addresses: Addresses) -> bool:
    try:
        psycopg.connect(addresses.database_url, connect_timeout=5).close()
        with Redis.from_url(addresses.redis_url, socket_timeout=5) as client:
            return bool(client.ping())
    except (psycopg.OperationalError, RedisError):
        return False


def _held(home: Home, reason: str) -> HomeHeld:
    return HomeHeld(
        f"home: {home.folder} is held by {home.holder() or 'another process'}, and can't be"
        f" joined: {reason}; stop it, or set another ENLARGER_HOME",
        field="home",
    )
