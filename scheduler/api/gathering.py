"""What comes while something is being written is written together, next.

Who comes alone is written at once. While that is under way the others wait for it, or until there
are enough of them for another call: for fewer it would cost more than it hastens.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import anyio.to_thread
from anyio import CapacityLimiter

Item = TypeVar("Item")
Result = TypeVar("Result")


class Gathering(Generic[Item, Result]):
    """Hands items to a function that blocks, many at a time; to be used from one event loop only.

    Args:
        write: Runs on a thread; returns for each item its result, or the error to be raised to
            whoever has put it. Raises nothing itself.
        writers: How many threads write at once.
        company: So many are worth a call beside one that is under way.
        at_once: Items for one call, at most.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        writers: int,
        company: int,
        at_once: int,
    ) -> None:
        self._write = write
        self._limiter = CapacityLimiter(writers)
        self._at_once = at_once
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._company = company
        self._writers = self._idle = writers
        self._tasks: set[asyncio.Task[None]] = set()  # lest they are collected as garbage

    async def put(self, item: Item) -> Result:
        """Have an item written, and return its result or raise its error."""
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._idle == self._writers or (self._idle and len(self._waiting) >= self._company):
            self._idle -= 1
            task = asyncio.create_task(self._write_all())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await answer

    async def _write_all(self) -> None:
        try:
            while self._waiting:
                await self._write_some()
        finally:
            # Here, and not when the task is seen to be done, which is a moment later: what came in
            # between would be written by nobody.
            self._idle += 1

    async def _write_some(self) -> None:
        batch, self._waiting = self._waiting[: self._at_once], self._waiting[self._at_once :]
        outcomes = await anyio.to_thread.run_sync(
            self._write, [item for item, _ in batch], limiter=self._limiter
        )
        for (_, answer), outcome in zip(batch, outcomes, strict=True):
            if answer.done():  # its caller has hung up
                continue
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome)
