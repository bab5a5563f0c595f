from collections.abc import Iterator

import pytest
import redis
from celery import Celery

from scheduler import broker
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = Ledger(settings, connections=4)
    yield ledger
    ledger.close()


@pytest.fixture
def app(settings: Settings) -> Celery:
    return broker.make_app(settings)


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    client = broker.connect(settings)
    yield client
    client.close()
