"""Sends one message: to a checked address, without redirects, never for longer than it may take."""

import asyncio
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Self

from models.version import VERSION
from scheduler.errors import NameUnresolved, UrlRefused
from scheduler.guard import Ip, Target, parse_url, resolve
from scheduler.settings import Network
from scheduler.webhooks.connection import Connection, Disconnected
from scheduler.webhooks.places import Place
from scheduler.webhooks.schedule import Answer

ANSWER_CHARACTERS = 1000
TIDY_S = 5.0
RESOLVING_THREADS = 16
LINE_END = re.compile(r"[\r\n\0]")


class Client:
    """Keeps connections to the consumers; to be used within one event loop.

    Proxies and credentials that the environment names are not used: they would be a way around the
    guard. There are no cookies, and compressed answers are not asked for.
    """

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._threads = ThreadPoolExecutor(RESOLVING_THREADS, thread_name_prefix="resolve")
        self._places: dict[str, Place] = {}
        self._tls = ssl.create_default_context()

    async def __aenter__(self) -> Self:
        self._tidying = asyncio.create_task(self._tidy())
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._tidying.cancel()
        for place in self._places.values():
            place.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.sleep(0)  # the transports close their sockets

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            now = time.monotonic()
            for origin in [origin for origin, place in self._places.items() if place.tidy(now)]:
                del self._places[origin]

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float
    ) -> Answer:
        """Send a message and say what came of it; no error of the consumer's is raised.

        Raises:
            ValueError: A header holds a line end.
        """
        began = asyncio.get_running_loop().time()
        try:
            target, head = _prepared(url)
            message = b"".join((head, _spelt(headers, len(body)), body))
            return await self._exchange(target, message, began, timeout_s)
        except TimeoutError:
            text = f"no answer within {timeout_s:g} s"
        except (UrlRefused, NameUnresolved) as exc:
            text = str(exc)
        except OSError as exc:
            text = f"{type(exc).__name__}: {exc}"
        seconds = asyncio.get_running_loop().time() - began
        return Answer(status=None, text=text[:ANSWER_CHARACTERS], seconds=seconds)

    async def _exchange(
        self, target: Target, message: bytes, began: float, timeout_s: float
    ) -> Answer:
        place = self._place(target)
        until = began + timeout_s
        connection = place.take()
        if connection is not None:
            try:
                await connection.exchange(message, until=until)
            except Disconnected:
                connection = None  # as consumers do that close idle connections: not a failed try
        if connection is None:
            connection = await place.open(until=until)
            await connection.exchange(message, until=until)
        answer = _answer(connection, asyncio.get_running_loop().time() - began)
        place.give(connection)
        return answer

    def _place(self, target: Target) -> Place:
        if target.origin not in self._places:
            self._places[target.origin] = Place(target, self._resolve, self._tls)
        return self._places[target.origin]

    def _resolve(self, target: Target) -> asyncio.Future[list[Ip]]:
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._threads, resolve, target, self._allowed)


@lru_cache(maxsize=1024)
def _prepared(url: str) -> tuple[Target, bytes]:
    """Return where a URL leads, and what all requests to it begin with."""
    target = parse_url(url)
    lines = (
        f"POST {target.path} HTTP/1.1",
        f"Host: {target.authority}",
        f"User-Agent: Enlarger/{VERSION}",
        "Accept: */*",
        "Accept-Encoding: identity",
        "Content-Type: application/json",
        "",
    )
    return target, "\r\n".join(lines).encode("ascii")


def _spelt(headers: Mapping[str, str], length: int) -> bytes:
    """Return the rest of a head.

    Raises:
        ValueError: A header holds a line end.
    """
    lines = [f"{name}: {value}\r\n" for name, value in headers.items()]
    if any(LINE_END.search(line, 0, len(line) - 2) for line in lines):
        raise ValueError("a header holds a line end")  # noqa: EM101
    return "".join((*lines, f"Content-Length: {length}\r\n\r\n")).encode()


def _answer(connection: Connection, seconds: float) -> Answer:
    text = connection.body.decode(errors="replace")
    if connection.broke_off:
        text = f"the answer broke off: {text}"
    return Answer(
        status=connection.status,
        # PostgreSQL takes no NUL.
        text=text[:ANSWER_CHARACTERS].replace("\0", "\N{REPLACEMENT CHARACTER}"),
        retry_after=connection.retry_after,
        seconds=seconds,
    )
