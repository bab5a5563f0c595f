"""Sends one message: to a checked address, without redirects, never for longer than it may take."""

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from ipaddress import ip_address
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from models.version import VERSION
from scheduler.errors import NameUnresolved, UrlRefused
from scheduler.guard import Target, check_address, resolve
from scheduler.settings import Network
from scheduler.webhooks.schedule import Answer

ANSWER_BYTES = 4096
"""What is kept of an answer; a connection with a longer one is closed."""
ANSWER_CHARACTERS = 1000
CONNECT_S = 5.0
IDLE_S = 30.0
NAMES_KEPT_S = 10
RESOLVING_THREADS = 16
HEADERS = {
    "Content-Type": "application/json",
    "User-Agent": f"Enlarger/{VERSION}",
    "Accept-Encoding": "identity",
}

AddressInfo = tuple[int, int, int, str, tuple[object, ...]]


class Client:
    """Keeps connections to the consumers; to be used within one event loop.

    Proxies and credentials that the environment names are not used: they would be a way around the
    guard. Cookies are forgotten, compressed answers are not unpacked.
    """

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._threads = ThreadPoolExecutor(RESOLVING_THREADS, thread_name_prefix="resolve")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=_Resolver(allowed, self._threads),
                socket_factory=self._checked_socket,
                limit=0,  # how many at once is the sender's decision
                keepalive_timeout=IDLE_S,
                ttl_dns_cache=NAMES_KEPT_S,  # also keeps a slow name from taking every thread
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=HEADERS,
            auto_decompress=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._session.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _checked_socket(self, info: AddressInfo) -> socket.socket:
        """Make the socket of a connection, unless it would lead where it may not.

        This is the last moment before connecting, and the only way to it, also for URLs that have
        an address in the place of a name.
        """
        family, kind, protocol, _, place = info
        check_address(ip_address(str(place[0])), str(place[0]), self._allowed)
        return socket.socket(family, kind, protocol)

    async def post(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout_s: float
    ) -> Answer:
        """Send a message and say what came of it; no error of the consumer's is raised."""
        began = time.monotonic()
        try:
            status, text, retry_after = await self._post(url, body, headers, timeout_s)
        except TimeoutError:
            status, text, retry_after = None, f"no answer within {timeout_s:g} s", None
        except (UrlRefused, NameUnresolved) as exc:
            status, text, retry_after = None, str(exc), None
        except (aiohttp.ClientError, OSError) as exc:
            status, text, retry_after = None, _described(exc), None
        return Answer(
            status=status,
            text=text[:ANSWER_CHARACTERS],
            retry_after=retry_after,
            seconds=time.monotonic() - began,
        )

    async def _post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout_s: float
    ) -> tuple[int, str, str | None]:
        async with self._session.post(
            _parsed(url),
            data=body,
            headers=headers,
            allow_redirects=False,
            timeout=_limits(timeout_s),
        ) as response:
            text = await _beginning(response)
            return response.status, text, response.headers.get("Retry-After")


@lru_cache(maxsize=1024)
def _parsed(url: str) -> URL:
    return URL(url, encoded=True)


@lru_cache(maxsize=8)
def _limits(timeout_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(CONNECT_S, timeout_s))


async def _beginning(response: aiohttp.ClientResponse) -> str:
    """Return the beginning of an answer; its status counts even if the rest never comes."""
    data = b""
    try:
        while len(data) < ANSWER_BYTES and (piece := await response.content.readany()):
            data += piece
    except (TimeoutError, aiohttp.ClientError) as exc:
        response.close()
        return f"the answer broke off: {_described(exc)}"
    if not response.content.at_eof():
        response.close()
    # PostgreSQL takes no NUL.
    return data[:ANSWER_BYTES].decode(errors="replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def _described(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__


class _Resolver(AbstractResolver):
    """Looks names up by the guard, which refuses a name if any of its addresses is not public."""

    def __init__(self, allowed: Sequence[Network], threads: ThreadPoolExecutor) -> None:
        self._allowed = allowed
        self._threads = threads

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        target = Target(scheme="https", host=host, port=port, path="/")
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, resolve, target, self._allowed)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Nothing is held."""
