from collections.abc import Iterator

import pytest

from scheduler.ledger.session import Ledger
from scheduler.settings import Settings


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = Ledger(settings, connections=6)
    yield ledger
    ledger.close()
