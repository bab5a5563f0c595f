"""Counters of batches, followed by any number of streams at one query a tick and process."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from models.errors import WorldError
from scheduler.ledger import batches
from scheduler.ledger.batches import Progress
from scheduler.ledger.session import Ledger
from scheduler.pace import Pace, Standing

log = structlog.get_logger()

TICK_S = 1.0
SILENCE_S = 15.0
"""A line that means nothing is sent this often: clients and proxies give up silent streams."""


class Followed:
    """The newest counters of all batches that somebody follows.

    While the ledger is away nothing is sent; then streams go on with what holds by then.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._wanted: Counter[UUID] = Counter()
        self._found: dict[UUID, Progress] = {}
        self._ticked = asyncio.Condition()
        self._ticking: asyncio.Task[None] | None = None

    async def progress(self, batch_id: UUID) -> AsyncGenerator[Standing, None]:
        """Yield where a batch stands now, and at each change, until its report is there."""
        pace, last = Pace(), None
        async with self._following(batch_id):
            while True:
                async with self._ticked:
                    await self._ticked.wait()
                found = self._found.get(batch_id)
                if found is None or found == last:
                    continue
                last = found
                yield pace.look(found)
                if found.reported_at is not None:
                    return

    @asynccontextmanager
    async def _following(self, batch_id: UUID) -> AsyncIterator[None]:
        """Let ticks ask for a batch; the first stream starts them, the last one ends them."""
        self._wanted[batch_id] += 1
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick())
        try:
            yield
        finally:
            self._wanted -= Counter([batch_id])
            if not self._wanted and self._ticking is not None:
                self._ticking.cancel()
                self._ticking = None

    async def _tick(self) -> None:
        while True:
            try:
                self._found = await run_in_threadpool(self._ask, list(self._wanted))
            except WorldError as exc:
                log.warning("ledger.unavailable", reason=str(exc))
            async with self._ticked:
                self._ticked.notify_all()
            await asyncio.sleep(TICK_S)

    def _ask(self, ids: list[UUID]) -> dict[UUID, Progress]:
        with self._ledger.begin(durable=False) as session:
            return {each.id: each for each in batches.progress_of(session, ids)}


def event_stream(messages: AsyncGenerator[str, None]) -> StreamingResponse:
    """Return messages as server-sent events, with signs of life between them."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(
        _with_signs_of_life(messages), headers=headers, media_type="text/event-stream"
    )


async def _with_signs_of_life(messages: AsyncGenerator[str, None]) -> AsyncIterator[str]:
    coming = asyncio.ensure_future(anext(messages, None))
    try:
        while True:
            done, _ = await asyncio.wait({coming}, timeout=SILENCE_S)
            if not done:
                yield ": still here\n\n"
                continue
            message = coming.result()
            if message is None:
                return
            yield f"data: {message}\n\n"
            coming = asyncio.ensure_future(anext(messages, None))
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError, StopAsyncIteration):
            await coming
        await messages.aclose()
