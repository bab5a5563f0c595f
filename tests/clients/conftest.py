"""A whole system, once for all tests of clients: the API here, scheduler and worker beside it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from models import catalog
from scheduler.children import Child, Supervisor
from scheduler.embedded.postgres import Postgres
from scheduler.embedded.system import environment
from scheduler.ledger import fleet
from scheduler.settings import Settings
from tests.api.live import Live, live
from tests.clients import certificates, endpoint
from tests.conftest import database
from tests.processes import eventually

SCHEDULER = (sys.executable, "-P", "-m", "scheduler.cli", "scheduler")
WORKER = (sys.executable, "-P", "-m", "tests.clients.slow_worker", "--device", "cpu")


@pytest.fixture(scope="session")
def _system(
    _postgres: Postgres, _template: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("clients")
    with contextmanager(database)(_postgres, template=_template) as url:
        settings = Settings(
            database_url=SecretStr(url),
            redis_url=SecretStr(redis_url),
            redis_prefix=f"test-{uuid4().hex}:",
            files=(folder / "files").as_uri(),
            secret_key=SecretStr("a key for tests, known to everybody"),
            lease_s=4.0,
            webhook_allow=(ip_network("127.0.0.1/32"),),
            trusted_proxies=(ip_network("127.0.0.1/32"),),
        )
        env = environment(settings)
        with (
            live(settings, tls=certificates.make(folder)) as running,
            Supervisor() as supervisor,
        ):
            for name, command in (("scheduler", SCHEDULER), ("worker", WORKER)):
                log = folder / f"{name}.log"
                supervisor.start(Child(name=name, command=command, env=env, log=log))
            eventually(lambda: _ready(running), within_s=60)
            yield running


def _ready(running: Live) -> bool:
    with running.app.state.ledger.begin() as session:
        return bool(fleet.alive(session))


@pytest.fixture(scope="session")
def authority(_system: Live, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The certificate of the authority that the system's own was signed by."""
    return tmp_path_factory.getbasetemp() / "clients0" / certificates.AUTHORITY


@pytest.fixture
def system(_system: Live, monkeypatch: pytest.MonkeyPatch) -> Live:
    """A system at work, shared by the tests; the owner of its key is the test's own."""
    # For the test alone: others of this process ask the catalogue, too.
    monkeypatch.setitem(catalog.ENDPOINTS, endpoint.ENDPOINT, endpoint.stepped())
    return replace(_system, key=_system.make_key(f"alice-{uuid4().hex}"))
