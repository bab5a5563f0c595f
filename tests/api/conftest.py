from collections.abc import Iterator

import pytest

from scheduler.settings import Settings
from tests.api.live import Live, live


@pytest.fixture
def api(settings: Settings) -> Iterator[Live]:
    """The API on a system of the test's own; nothing but it runs."""
    with live(settings) as running:
        yield running
