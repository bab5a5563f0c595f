"""Whether this process can do its work: the database, Redis and the store answer."""

import threading
import time
from collections.abc import Callable, Mapping

import structlog
from redis import Redis, RedisError
from sqlalchemy import text

from models.errors import EnlargerError, Kind
from scheduler.ledger.session import Ledger
from scheduler.storage import Storage

log = structlog.get_logger()

REMEMBERED_S = 5.0
"""However often it is asked, the world is looked at no more often than this."""
STALE_S = 30.0
"""A look that takes longer than this is a no."""


class Readiness:
    """Looks at the world when it is asked, and remembers what it saw for a while."""

    def __init__(self, ledger: Ledger, redis: Redis, storage: Storage, *, place: str) -> None:
        """Look at nothing yet.

        Args:
            ledger: Asked for nothing.
            redis: Pinged.
            storage: Asked for what lies at `place`.
            place: An address; whether anything is there does not matter.
        """
        self._ledger = ledger
        self._redis = redis
        self._storage = storage
        self._place = place
        self._looking = threading.Lock()
        self._seen: dict[str, bool] = {}
        self._at = -STALE_S

    def look(self) -> Mapping[str, bool]:
        """Return what answers; whoever asks while somebody looks gets what was seen before."""
        if time.monotonic() - self._at > REMEMBERED_S and self._looking.acquire(blocking=False):
            try:
                checks = {"database": self._ask, "redis": self._ping, "storage": self._stat}
                self._seen = {name: _answers(name, check) for name, check in checks.items()}
                self._at = time.monotonic()
            finally:
                self._looking.release()
        if time.monotonic() - self._at > STALE_S:
            return dict.fromkeys(("database", "redis", "storage"), False)
        return self._seen

    def _ask(self) -> None:
        with self._ledger.begin(durable=False) as session:
            session.execute(text("select 1"))

    def _ping(self) -> None:
        self._redis.ping()

    def _stat(self) -> None:
        self._storage.stat(self._place)


def _answers(name: str, check: Callable[[], object]) -> bool:
    """Tell whether something answers; that it says no is an answer, too."""
    try:
        check()
    except RedisError as exc:
        log.warning("readiness.missing", what=name, reason=str(exc))
        return False
    except EnlargerError as exc:
        if exc.kind is Kind.REQUEST:
            return True
        log.warning("readiness.missing", what=name, reason=str(exc))
        return False
    return True
