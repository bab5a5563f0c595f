"""Look-ups of requests that come at the same time are one query.

A status is polled ten times a second by each who waits; while one query is under way, the next ones
gather. Nobody waits for company: an idle process asks at once.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

import anyio.to_thread
from anyio import CapacityLimiter

from scheduler.ledger import requests
from scheduler.ledger.requests import Standing
from scheduler.ledger.session import Ledger

Found = dict[UUID, Standing]

QUERIES = 2
"""At once: while the ledger does one, the answers of the other go out."""


class Lookups:
    """To be used from one event loop only."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._limiter = CapacityLimiter(QUERIES)
        self._asked: set[UUID] = set()
        self._next: asyncio.Task[Found] | None = None

    async def find(self, request_id: UUID) -> Standing | None:
        """Return where a request stands; None where there is none.

        Raises:
            LedgerUnavailable: It can't be known.
        """
        self._asked.add(request_id)
        if self._next is None:
            self._next = asyncio.create_task(self._answer())
            self._next.add_done_callback(_noted)
        # Shielded: one who hangs up does not take the answer from the others.
        found = await asyncio.shield(self._next)
        return found.get(request_id)

    async def _answer(self) -> Found:
        """Wait for one of the queries before this one, then ask for all that have gathered."""
        async with self._limiter:
            asked, self._asked, self._next = self._asked, set(), None
            return await anyio.to_thread.run_sync(
                self._read, list(asked), limiter=CapacityLimiter(1)
            )

    def _read(self, ids: Sequence[UUID]) -> Found:
        with self._ledger.autocommit(durable=False) as connection:
            return {standing.id: standing for standing in requests.find_all(connection, ids)}


def _noted(task: asyncio.Task[Found]) -> None:
    """Take note of an error that all who asked have hung up on."""
    with suppress(asyncio.CancelledError):
        task.exception()
