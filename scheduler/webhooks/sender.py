"""Delivers: takes what is due, sends it, and writes down what came of it.

Any number of these may run, in one place or in many: rows are taken with SKIP LOCKED, and owned for
a while. A sender that dies in the middle of a request leaves its rows to the others.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TypeVar
from uuid import UUID

import structlog
from sqlalchemy.orm import Session

from models.errors import WorldError
from scheduler import traces
from scheduler.ledger import deliveries
from scheduler.ledger.deliveries import Key, Settled, Taken
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from scheduler.webhooks import outcome
from scheduler.webhooks.client import Client
from scheduler.webhooks.expansion import Expansion
from scheduler.webhooks.lanes import FIRST_ROOM, Lane
from scheduler.webhooks.schedule import LONGEST_TRY, Answer, timeout_s
from scheduler.webhooks.signatory import Signatory

log = structlog.get_logger()
Result = TypeVar("Result")

AT_ONCE = 512
"""Requests on their way, to all destinations together; each has a socket."""
FLUSH_S = 0.05
POLL_S = 0.25
EXPANDED_A_SECOND = 5000
"""So many are written at least, even if none is sent: what waits behind them may be for others."""
LOOK_S = 0.005
KEYS_S = 10.0
AWAY_S = 1.0


class Sender:
    """One sender's loops, on one event loop; what waits for the ledger waits on threads."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._expansion = Expansion(ledger, settings)
        self._poll_s = min(settings.poll_s, POLL_S)
        # A row is ours for the longest try, and as long again as two first tries to begin it.
        self._queue_s = 2 * settings.webhook_timeout_s
        self._lease_s = settings.webhook_timeout_s * LONGEST_TRY + self._queue_s
        self._lanes: dict[str, Lane] = {}
        self._settled: list[Settled] = []
        self._unsent: list[Key] = []
        self._sending: set[asyncio.Task[None]] = set()
        self._threads = ThreadPoolExecutor(3, thread_name_prefix="sender")
        self._stopping = asyncio.Event()
        self._hungry = asyncio.Event()
        self._told = asyncio.Event()
        self._expanded = asyncio.Event()
        self._drained = asyncio.Event()

    def stop(self) -> None:
        """Take nothing new, finish what is on its way, and let `run` end."""
        for event in (self._stopping, self._hungry, self._told):
            event.set()

    async def run(self) -> None:
        """Deliver until `stop`; an unwell ledger is waited for, a bug ends it."""
        async with Client(self._settings.webhook_allow) as self._client:
            await self._read_keys()
            async with asyncio.TaskGroup() as self._group:
                for loop in (self._expand(), self._fetch(), self._write(), self._refresh_keys()):
                    self._group.create_task(loop)
        self._threads.shutdown()

    async def _in_ledger(
        self, work: Callable[[Session], Result], *, durable: bool = True
    ) -> Result | None:
        """Work in a transaction, on a thread; None, and a pause, where the ledger is away."""

        def transaction() -> Result:
            with self._ledger.begin(durable=durable) as session:
                return work(session)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, transaction)
        except WorldError as exc:
            log.warning("sender.delayed", reason=str(exc))
            await _wait(self._stopping, AWAY_S)
            return None

    async def _read_keys(self) -> None:
        found = None
        while found is None and not self._stopping.is_set():
            found = await self._in_ledger(Signatory.read)
        if found is not None:
            self._signatory = found

    async def _refresh_keys(self) -> None:
        while not self._stopping.is_set():
            await _wait(self._stopping, KEYS_S)
            await self._read_keys()

    async def _expand(self) -> None:
        """Turn events into messages, and send those right away that nothing older waits before."""
        while not self._stopping.is_set():
            now = time.monotonic()
            rooms = {
                origin: 0 if lane.full or lane.is_down(now) else lane.room(now)
                for origin, lane in self._lanes.items()
            }
            found = await self._in_ledger(partial(self._expansion.step, rooms, self._lease_s))
            if found is not None:
                self._line_up(found.taken, now)
            if found is not None and found.due:
                self._hungry.set()
            if found is None or not found.events:
                await _wait(self._stopping, self._poll_s)
            elif len(found.taken) > found.due:
                await self._halfway(time.monotonic() + len(found.taken) / EXPANDED_A_SECOND)
        self._expanded.set()

    async def _halfway(self, until: float) -> None:
        """Wait until the lanes are half empty, lest there is no room in them for what comes."""
        while time.monotonic() < until and not self._stopping.is_set():
            lanes = self._lanes.values()
            if sum(len(each.waiting) for each in lanes) <= sum(each.ahead for each in lanes) // 2:
                return
            await asyncio.sleep(LOOK_S)

    def _line_up(self, taken: list[Taken], now: float) -> None:
        """Put what this sender has taken into its lanes, and start what there is room for."""
        until = now + self._queue_s
        for each in taken:
            self._lane(each.origin).waiting.append((each, until))
        for origin in {each.origin for each in taken}:
            self._pump(self._lanes[origin])

    async def _fetch(self) -> None:
        """Take what is due, and start it; in the end give back what was not begun."""
        while not self._stopping.is_set():
            self._hungry.clear()
            found = await self._take()
            for lane in list(self._lanes.values()):
                self._pump(lane)
            if not found:
                await _wait(self._hungry, self._poll_s)
        await self._expanded.wait()
        for lane in self._lanes.values():
            self._unsent += [taken.key for taken, _ in lane.waiting]
            lane.waiting.clear()
        if self._sending:
            await asyncio.wait(self._sending, timeout=self._settings.grace_s)
        for task in self._sending:
            task.cancel()
        self._drained.set()
        self._told.set()

    async def _take(self) -> bool:
        """Fill the lanes; tell whether there may be more right away."""
        now = time.monotonic()
        rooms = {origin: lane.room(now) for origin, lane in self._lanes.items()}
        found = await self._in_ledger(partial(_take, rooms, self._lease_s), durable=False)
        if found is None:
            return False
        for origin, lane in self._lanes.items():
            lane.full = origin in found.full
        self._line_up(found.taken, now)
        self._forget_idle()
        return found.aside > 0 or bool(found.taken)

    def _lane(self, origin: str) -> Lane:
        if origin not in self._lanes:
            self._lanes[origin] = Lane(origin=origin, most=self._settings.webhook_connections)
        return self._lanes[origin]

    def _forget_idle(self) -> None:
        if len(self._lanes) > AT_ONCE:
            self._lanes = {o: lane for o, lane in self._lanes.items() if not lane.is_idle()}

    def _pump(self, lane: Lane) -> None:
        """Start what a lane may send now; fail what waits for a destination that is down."""
        now = time.monotonic()
        if lane.is_down(now):
            down = Answer(status=None, text=f"not sent: {lane.origin} is down: {lane.last}")
            while lane.waiting:
                self._settle(lane.waiting.popleft()[0], down, tried=False)
            return
        for _ in range(min(lane.startable(), AT_ONCE - len(self._sending))):
            lane.in_flight += 1
            task = self._group.create_task(self._serve(lane))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        if lane.is_hungry():
            self._hungry.set()

    async def _serve(self, lane: Lane) -> None:
        """Send one message after the other, for as long as the lane has room for this one."""
        try:
            while (taken := self._next(lane)) is not None:
                await self._deliver(lane, taken)
                self._pump(lane)
        finally:
            lane.in_flight -= 1

    def _next(self, lane: Lane) -> Taken | None:
        now = time.monotonic()
        while lane.waiting and lane.may_go_on(now) and not self._stopping.is_set():
            taken, until = lane.waiting.popleft()
            if now < until:
                return taken
            self._unsent.append(taken.key)
            self._told.set()
        return None

    async def _deliver(self, lane: Lane, taken: Taken) -> None:
        body, began_ns = taken.body.encode(), time.time_ns()
        limit = timeout_s(taken.style, taken.failures, first_s=self._settings.webhook_timeout_s)
        try:
            headers = self._signatory.headers(taken, body)
            answer = await self._client.post(taken.url, body, headers, timeout_s=limit)
        except asyncio.CancelledError:
            self._unsent.append(taken.key)
            raise
        except Exception as exc:
            # The outermost frame of one message: a bug in it must not stop all others.
            log.error("delivery.crashed", event=taken.key.event_id, exc_info=exc)
            answer = Answer(status=None, text=f"not sent: {type(exc).__name__}, see the log")
        traces.note("deliver", taken.job_id or taken.key.batch_id, began_ns, origin=taken.origin)
        lane.note(answer, time.monotonic())
        self._settle(taken, answer)

    def _settle(self, taken: Taken, answer: Answer, *, tried: bool = True) -> None:
        now = datetime.now(UTC)
        found = outcome.settled(taken, answer, now=now, random=random.random, tried=tried)
        self._settled.append(found)
        self._told.set()

    async def _write(self) -> None:
        """Write down what came of the tries, many at a time, until all is over."""
        while not self._drained.is_set() or self._sending or self._settled or self._unsent:
            await _wait(self._told, self._poll_s)
            await asyncio.sleep(FLUSH_S)
            self._told.clear()
            settled, unsent = self._settled, self._unsent
            self._settled, self._unsent = [], []
            if not settled and not unsent:
                continue
            paused = await self._in_ledger(partial(_settle, settled, unsent))
            if paused is None and self._drained.is_set():
                return  # the leases lapse, and others send it again
            if paused is None:
                self._settled, self._unsent = settled + self._settled, unsent + self._unsent
            for each in paused or ():
                log.warning("subscription.paused", subscription=str(each))


async def _wait(event: asyncio.Event, longest_s: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(longest_s):
            await event.wait()


@dataclass(frozen=True, kw_only=True)
class _Found:
    """What one look into the ledger gave: `full` are the destinations that may have more."""

    taken: list[Taken]
    aside: int
    full: set[str]


def _take(rooms: Mapping[str, int], lease_s: float, session: Session) -> _Found:
    """Take for each destination as many as it has room for."""
    origins = deliveries.waiting(session)
    asked = {origin: rooms.get(origin, FIRST_ROOM) for origin in origins}
    asked = {origin: room for origin, room in asked.items() if room > 0}
    if not asked:
        return _Found(taken=[], aside=0, full=set(origins))
    taken, aside = deliveries.take(session, asked, lease_s=lease_s)
    counts = Counter(each.origin for each in taken)
    full = {origin for origin in origins if counts[origin] >= asked.get(origin, 0)}
    return _Found(taken=taken, aside=aside, full=full)


def _settle(settled: list[Settled], unsent: list[Key], session: Session) -> list[UUID]:
    """Write outcomes, and give back what was not sent; return the subscriptions paused for it."""
    if unsent:
        deliveries.release(session, unsent)
    return outcome.write(session, settled) if settled else []
