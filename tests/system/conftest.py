"""Systems to be struck, at moments that a printed seed decides.

`--strikes 20` strikes each test's system that often; `ENLARGER_FAULT_SEED` repeats a failure.
"""

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pydantic import SecretStr

from scheduler.errors import ServerMissing
from scheduler.settings import Settings
from tests.conftest import missing
from tests.system.gateway import Gateway, gateway
from tests.system.servers import Servers, serve
from tests.system.system import System

STRIKES = 2
CAMPAIGN_S = 12.0
SEED = os.environ.get("ENLARGER_FAULT_SEED") or str(random.SystemRandom().randrange(10**9))
"""Read before the environment is cleaned, drawn apart from any seed of the test runner."""
PATIENCE_S = 120
STRIKE_S = 30


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--strikes", type=int, default=STRIKES, help="how often a fault strikes in each test"
    )
    parser.addoption(
        "--campaign", type=float, default=CAMPAIGN_S, help="seconds of the campaign of all faults"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each system test the time that its strikes take."""
    limit = PATIENCE_S + STRIKE_S * _strikes(config) + 5 * _campaign_s(config)
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(limit))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Say in each failure which seed it had, and what the processes said last."""
    report = yield
    system = getattr(item, "funcargs", {}).get("system")
    if report.failed and system is not None:
        report.sections.append(("repeat with", f"ENLARGER_FAULT_SEED={SEED}"))
        report.sections.extend(system.tails())
    return report


def _strikes(config: pytest.Config) -> int:
    found: int = config.getoption("strikes", default=STRIKES)
    return found


def _campaign_s(config: pytest.Config) -> float:
    found: float = config.getoption("campaign", default=CAMPAIGN_S)
    return found


@pytest.fixture
def campaign_s(pytestconfig: pytest.Config) -> float:
    """How long the campaign of all faults lasts, in seconds."""
    return _campaign_s(pytestconfig)


@pytest.fixture
def strikes(pytestconfig: pytest.Config) -> int:
    """How often to strike."""
    return _strikes(pytestconfig)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """Decides when; the same for the same seed and test."""
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """PostgreSQL and Redis that a test may kill."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(serve(tmp_path_factory.mktemp("servers")))
        except ServerMissing as exc:
            missing(exc)
        yield running


@pytest.fixture
def settings(servers: Servers, strikes: int, tmp_path: Path) -> Iterator[Settings]:
    """Settings of a system that is in a hurry: leases, sweeps and pauses are short."""
    with servers.database() as database_url:
        yield Settings(
            database_url=SecretStr(database_url),
            redis_url=SecretStr(servers.redis.url),
            redis_prefix=f"{tmp_path.name}:",
            home=tmp_path / "home",
            lease_s=3.0,
            sweep_s=0.5,
            poll_s=0.3,
            backoff_s=0.2,
            backoff_max_s=1.0,
            grace_s=5.0,
            bundle_jobs=4,
            fetch_threads=4,
            store_threads=4,
            # A job that is unlucky more often than a real one ever is has done nothing wrong.
            max_failures=3 + strikes,
        )


@pytest.fixture
def system(servers: Servers, settings: Settings, tmp_path: Path) -> Iterator[System]:
    """A system without processes."""
    with System(settings, servers, tmp_path) as system:
        yield system


@pytest.fixture
def store(s3_url: str) -> Iterator[Gateway]:
    """The way to a real S3 server, which a test may block."""
    with gateway(s3_url) as it:
        yield it
