"""One subscriber for all who follow requests: a query a tick, and one reader of the live stream.

Whoever follows waits for an event of the loop and holds no thread and no connection. The ledger is
asked again and again, so nothing is missed when it or Redis was away; Redis only brings the log.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import anyio
import structlog
from anyio import CapacityLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from scheduler import live
from scheduler.errors import LedgerUnavailable
from scheduler.ledger import requests
from scheduler.ledger.requests import Standing
from scheduler.ledger.session import Ledger
from scheduler.live import News

log = structlog.get_logger()

TICK_S = 0.1
AWAY_S = 1.0
"""Pause before another try while the ledger or Redis is away."""
READ_MS = 2000
"""Less than the client waits for an answer."""
MOST_LOGS = 1000
"""Jobs whose lines are remembered; the longest silent ones are forgotten first."""


@dataclass(kw_only=True)
class Log:
    """The lines of one attempt of a job, as far as they were heard."""

    epoch: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list)

    def hear(self, news: News) -> bool:
        """Add what is new; tell whether anything is, in the order that it was said."""
        if news.epoch < self.epoch:
            return False
        if news.epoch > self.epoch:
            self.epoch, self.lines = news.epoch, []
        known = len(self.lines)
        if news.first > known:  # what lies between was missed; the ledger's copy has it
            return False
        fresh = [dict(each) for each in news.lines[known - news.first :]]
        self.lines += fresh[: live.MOST_LINES - known]
        return len(self.lines) > known


class Follower:
    """One who follows a request: what is the newest, and which lines it has not seen."""

    def __init__(self, standing: Standing) -> None:
        self.standing = standing
        self._news = asyncio.Event()
        self._seen = (0, 0)

    @property
    def is_new(self) -> bool:
        """Whether it was not given any lines yet."""
        return self._seen == (0, 0)

    def tell(self) -> None:
        """Let it look."""
        self._news.set()

    async def changed(self) -> None:
        """Wait until there is something new."""
        await self._news.wait()
        self._news.clear()

    async def wait(self, timeout_s: float) -> bool:
        """Wait until there is something new; False where nothing came in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self.changed()
        except TimeoutError:
            return False
        return True

    def unseen(self, epoch: int, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the lines that it was not given before, and count them as given."""
        seen = self._seen[1] if self._seen[0] == epoch else 0
        if epoch >= self._seen[0]:
            self._seen = (epoch, max(seen, len(lines)))
        return lines[seen:] if epoch >= self._seen[0] else []


class Hub:
    """Serves all followers of a process. To be used from its event loop only."""

    def __init__(self, ledger: Ledger, redis: Redis, *, stream: str) -> None:
        self._ledger = ledger
        self._redis = redis
        self._stream = stream
        self._followers: dict[UUID, set[Follower]] = {}
        self._logs: OrderedDict[UUID, Log] = OrderedDict()
        self._limiter = CapacityLimiter(1)
        self._somebody = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to listen."""
        self._tasks = [asyncio.create_task(self._tick()), asyncio.create_task(self._listen())]

    async def close(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError):
                await task
        await self._redis.aclose()

    @contextmanager
    def follow(self, standing: Standing) -> Iterator[Follower]:
        """Keep somebody up to date for a block, from what it knows already."""
        follower = Follower(standing)
        self._followers.setdefault(standing.id, set()).add(follower)
        self._somebody.set()
        try:
            yield follower
        finally:
            others = self._followers[standing.id]
            others.discard(follower)
            if not others:
                del self._followers[standing.id]

    def heard(self, job_id: UUID) -> Log:
        """Return what was heard of a job's log."""
        return self._logs.get(job_id) or Log()

    async def _tick(self) -> None:
        """Ask the ledger what has changed, for as long as anybody follows."""
        away = False
        while True:
            await self._somebody.wait()
            known = {id_: _mark(followers) for id_, followers in self._followers.items()}
            if not known:
                self._somebody.clear()
                continue
            try:
                changed = await anyio.to_thread.run_sync(self._ask, known, limiter=self._limiter)
            except LedgerUnavailable as exc:
                if not away:
                    log.warning("ledger.unavailable", reason=str(exc))
                away = True
                await asyncio.sleep(AWAY_S)
                continue
            away = False
            for standing in changed:
                self._tell(standing)
            await asyncio.sleep(TICK_S)

    def _ask(self, known: dict[UUID, str]) -> list[Standing]:
        with self._ledger.autocommit(durable=False) as connection:
            return requests.changed(connection, known)

    def _tell(self, standing: Standing) -> None:
        for follower in self._followers.get(standing.id, ()):
            if follower.standing.mark != standing.mark:
                follower.standing = standing
                follower.tell()

    async def _listen(self) -> None:
        """Read the live stream from what is still there of it, for ever."""
        last, away = "0", False
        while True:
            try:
                last = await self._read(last)
                away = False
            except (RedisError, OSError) as exc:
                if not away:
                    log.warning("redis.unavailable", reason=str(exc))
                away = True
                await asyncio.sleep(AWAY_S)

    async def _read(self, last: str) -> str:
        """Take in what was added since an entry; return the newest entry's id."""
        found: Any = await self._redis.xread({self._stream: last}, count=500, block=READ_MS)
        for _, entries in found or ():
            for id_, fields in entries:
                last = id_.decode()
                for news in live.unpack(fields.get(live.FIELD, b"")):
                    self._hear(news)
        return last

    def _hear(self, news: News) -> None:
        heard = self._logs.setdefault(news.job_id, Log())
        self._logs.move_to_end(news.job_id)
        if len(self._logs) > MOST_LOGS:
            self._logs.popitem(last=False)
        if heard.hear(news):
            for follower in self._followers.get(news.job_id, ()):
                follower.tell()


def _mark(followers: set[Follower]) -> str:
    """Return the mark that all know, or none: who came later may know more than the others."""
    marks = {follower.standing.mark for follower in followers}
    return marks.pop() if len(marks) == 1 else ""
