from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import uuid4

import pytest
from pydantic import SecretStr

from scheduler.embedded.postgres import Postgres
from scheduler.settings import Settings
from tests.api.live import Live, live
from tests.conftest import database


@pytest.fixture(scope="session")
def _shared_api(
    _postgres: Postgres, _template: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    with contextmanager(database)(_postgres, template=_template) as url:
        settings = Settings(
            database_url=SecretStr(url),
            redis_url=SecretStr(redis_url),
            redis_prefix=f"test-{uuid4().hex}:",
            files=tmp_path_factory.mktemp("files").as_uri(),
            secret_key=SecretStr("a key for tests, known to everybody"),
            event_token=SecretStr("a token for tests"),
        )
        with live(settings) as running:
            yield running


@pytest.fixture
def api(_shared_api: Live) -> Live:
    """An API without workers, shared by the tests; the owner of its key is the test's own."""
    return replace(_shared_api, key=_shared_api.make_key(f"alice-{uuid4().hex}"))
