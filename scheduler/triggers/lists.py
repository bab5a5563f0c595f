"""Redis lists that MinIO pushes its events to: its Redis target, in the format `access`.

An event is looked at, and removed once the ledger has its jobs. Of two who look at the same one, or
after one who was killed in between, the second finds its objects taken.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast
from urllib.parse import urldefrag

import structlog
from redis import Redis, RedisError

from scheduler.errors import QueueUnavailable, SettingsInvalid
from scheduler.ledger.session import Ledger
from scheduler.triggers.taking import Message, take

log = structlog.get_logger()

SCHEMES = ("redis://", "rediss://")
TOGETHER = 100
"""Events that share a transaction."""
TIMEOUT_S = 10


def name_of(address: str) -> str:
    """Return what a list is called, without its server's address: that may hold a password."""
    return f"redis#{urldefrag(address).fragment}"


def waiting(address: str) -> int:
    """Return how many events a list holds.

    Raises:
        SettingsInvalid: The address is none.
        QueueUnavailable: Redis is away, or forbids it.
    """
    client = _connect(address)
    with client, _list_errors(name_of(address)):
        return client.llen(urldefrag(address).fragment)


class ListReader:
    """Takes the events of one list.

    Args:
        ledger: Where the jobs go.
        address: Of the server, and behind a `#` the list's key.

    Raises:
        SettingsInvalid: The address is none.
    """

    def __init__(self, ledger: Ledger, address: str) -> None:
        self._ledger = ledger
        self._client = _connect(address)
        self._name = name_of(address)
        self._key = urldefrag(address).fragment

    def step(self) -> bool:
        """Take what the list holds; tell whether there was anything.

        Raises:
            LedgerUnavailable: Nothing was removed from the list.
            QueueUnavailable: Redis is away, or forbids it.
        """
        with _list_errors(self._name):
            events = cast("list[bytes]", self._client.lrange(self._key, 0, TOGETHER - 1))
            if not events:
                return False
            texts = [event.decode(errors="backslashreplace") for event in events]
            jobs = take(self._ledger, [Message(text, self._name) for text in texts])
            log.info("events.taken", queue=self._name, messages=len(events), jobs=jobs)
            self._remove(events)
        return True

    def _remove(self, events: Sequence[bytes]) -> None:
        """Remove events by their text: by their place, those of another reader would go as well."""
        pipeline = self._client.pipeline(transaction=False)
        for event in events:
            pipeline.lrem(self._key, 1, event)  # type: ignore[arg-type] # bytes are as good
        pipeline.execute()


@contextmanager
def _list_errors(name: str) -> Iterator[None]:
    try:
        yield
    except RedisError as exc:
        raise QueueUnavailable(f"{name}: Redis gives no events: {exc}") from exc


def _connect(address: str) -> Redis:
    server, key = urldefrag(address)
    if not key:
        reason = "ENLARGER_EVENT_QUEUES: name the list behind a #: redis://host:6379/0#events"
        raise SettingsInvalid(reason, field="event_queues")
    try:
        return Redis.from_url(server, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    except ValueError as exc:
        reason = f"ENLARGER_EVENT_QUEUES: the address of the list {key!r} is none: {exc}"
        raise SettingsInvalid(reason, field="event_queues") from exc
