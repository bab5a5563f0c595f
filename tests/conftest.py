"""What every test may ask for: real servers of its own, and an environment without surprises.

PostgreSQL and Redis start once per test process, when the first test asks. Tests are kept apart
by a database of their own, a key prefix and a bucket. A server that isn't installed skips its
tests, except in CI, where it fails them.
"""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest
from pydantic import SecretStr

from scheduler.children import Supervisor
from scheduler.embedded import redis
from scheduler.embedded.postgres import DATABASE, Postgres
from scheduler.errors import ServerMissing
from scheduler.ledger.session import upgrade
from scheduler.settings import Settings
from tests.s3server import bucket, s3_client, s3_url  # noqa: F401 - fixtures

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in a worker, before torch is imported

FOREIGN = ("ENLARGER_", "AWS_", "PG", "REDIS_", "CELERY_")
PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--goldens",
        action="append",
        default=[],
        metavar="FOLDER",
        help="check the reference cases in this folder too; see tests/goldens",
    )


def missing(server: ServerMissing) -> NoReturn:
    """Skip a test for want of a server; fail it in CI, which has to have them all."""
    if os.environ.get("CI") == "true":
        pytest.fail(str(server))
    pytest.skip(str(server))


@pytest.fixture(scope="session", autouse=True)
def _environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Take away whatever the machine has configured: credentials, proxies, settings."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(FOREIGN) or name.lower() in PROXIES:
                patch.delenv(name)
        patch.setenv("AWS_ACCESS_KEY_ID", "testing")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setenv("ENLARGER_HOME", str(tmp_path_factory.mktemp("home")))  # never the user's
        yield


@pytest.fixture(scope="session")
def _supervisor() -> Iterator[Supervisor]:
    with Supervisor() as supervisor:
        yield supervisor


@pytest.fixture(scope="session")
def _postgres(
    _supervisor: Supervisor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Postgres]:
    folder = tmp_path_factory.mktemp("postgres")
    server = Postgres(folder=folder, log=folder / "postgres.log", durable=False)
    try:
        server.prepare()
    except ServerMissing as exc:
        missing(exc)
    _supervisor.start(server.child())
    yield server
    server.remove_socket_folder()


@pytest.fixture(scope="session")
def postgres_url(_postgres: Postgres) -> str:
    """A real PostgreSQL server: the address of its maintenance database."""
    return _postgres.url("postgres")


@pytest.fixture(scope="session")
def _template(_postgres: Postgres) -> str:
    """The name of a database with the newest schema and no rows."""
    _postgres.create_database()
    upgrade(Settings(database_url=SecretStr(_postgres.url())))
    return DATABASE


@pytest.fixture
def empty_database_url(_postgres: Postgres) -> Iterator[str]:
    """A database of the test's own without any table."""
    yield from database(_postgres, template="template0")


@pytest.fixture
def database_url(_postgres: Postgres, _template: str) -> Iterator[str]:
    """A database of the test's own with the newest schema and no rows."""
    yield from database(_postgres, template=_template)


def database(server: Postgres, *, template: str) -> Iterator[str]:
    """Make a database for as long as the address is wanted."""
    name = f"test_{uuid.uuid4().hex}"
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(f"create database {name} template {template} strategy file_copy")
        yield server.url(name)
        connection.execute(f"drop database {name} with (force)")


@pytest.fixture(scope="session")
def redis_url(_supervisor: Supervisor, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A real Redis server, shared by the tests of a process: see `redis_prefix`."""
    folder = tmp_path_factory.mktemp("redis")
    server = redis.fresh(folder, folder / "redis.log")
    server.prepare()
    try:
        child = server.child()
    except ServerMissing as exc:
        missing(exc)
    _supervisor.start(child)
    return server.url


@pytest.fixture
def redis_prefix() -> str:
    """What the test's keys begin with."""
    return f"test-{uuid.uuid4().hex}:"


@pytest.fixture
def settings(database_url: str, redis_url: str, redis_prefix: str, tmp_path: Path) -> Settings:
    """Settings for a system of the test's own on the real servers."""
    return Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        redis_prefix=redis_prefix,
        home=tmp_path / "home",
        brought_weights=tmp_path / "brought",
        files=(tmp_path / "files").as_uri(),
        secret_key=SecretStr("a key for tests, known to everybody"),
    )
