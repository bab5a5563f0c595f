"""The ways to one destination: its checked addresses, and the connections that are free."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from typing import TypeAlias

import aiohappyeyeballs

from scheduler.guard import Ip, Target
from scheduler.webhooks.connection import Connection

CONNECT_S = 5.0
NEXT_ADDRESS_S = 0.25
"""After so long without an answer a name's next address is tried beside (RFC 8305)."""
IDLE_S = 30.0
NAMES_KEPT_S = 10.0
Resolve: TypeAlias = Callable[[Target], "asyncio.Future[list[Ip]]"]
"""Looks a host up by the guard, which refuses it if any of its addresses may not be reached."""


class Place:
    """A scheme, host and port. Connections lead to addresses of the guard, and nowhere else."""

    def __init__(self, target: Target, resolve: Resolve, tls: ssl.SSLContext) -> None:
        self._target = target
        self._resolve = resolve
        self._tls = tls if target.scheme == "https" else None
        self._lookup: asyncio.Task[list[Ip]] | None = None
        self._known_until = 0.0
        self._free: list[tuple[float, Connection]] = []

    def take(self) -> Connection | None:
        """Return the connection that was given back last, if one is left."""
        while self._free:
            found = self._free.pop()[1]
            if found.is_free():
                return found
        return None

    def give(self, connection: Connection) -> None:
        """Keep a connection for the next message, if it may be used once more."""
        if connection.is_free():
            self._free.append((time.monotonic(), connection))

    async def open(self, *, until: float) -> Connection:
        """Connect.

        Args:
            until: When to give up, by the loop's clock.

        Raises:
            TimeoutError: It took too long.
            UrlRefused: The place may not be reached.
            NameUnresolved: Its name has no address.
            OSError: It can't be reached.
        """
        loop = asyncio.get_running_loop()
        async with asyncio.timeout_at(until):
            addresses = await self._addresses()
            async with asyncio.timeout(CONNECT_S):
                reached = await aiohappyeyeballs.start_connection(
                    [_information(each, self._target.port) for each in addresses],
                    happy_eyeballs_delay=NEXT_ADDRESS_S,
                    interleave=1,
                )
            name = self._target.host.rstrip(".") if self._tls else None
            _, connection = await loop.create_connection(
                Connection, sock=reached, ssl=self._tls, server_hostname=name
            )
        return connection

    async def _addresses(self) -> list[Ip]:
        """Look the host up: once at a time, lest a slow name takes every thread, and not often."""
        known = self._lookup
        if known is None or (known.done() and time.monotonic() > self._known_until):
            known = self._lookup = asyncio.create_task(self._look_up())
        return await asyncio.shield(known)

    async def _look_up(self) -> list[Ip]:
        found = await self._resolve(self._target)
        self._known_until = time.monotonic() + NAMES_KEPT_S
        return found

    def tidy(self, now: float) -> bool:
        """Close what was idle for long, and tell whether nothing is left that is worth keeping."""
        for since, each in self._free:
            if now > since + IDLE_S:
                each.close()
        self._free = [(since, each) for since, each in self._free if each.is_free()]
        return not self._free and now > self._known_until

    def close(self) -> None:
        """Close what is free."""
        self.tidy(float("inf"))


def _information(address: Ip, port: int) -> tuple[int, int, int, str, tuple[str, int]]:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port)
