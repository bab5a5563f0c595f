"""The API on a real port, in a thread of the test's own process."""

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from socket import socket
from typing import Any

import httpx
import uvicorn
from fastapi import APIRouter, FastAPI

from scheduler.api import server
from scheduler.api.app import create_app
from scheduler.ledger import keys
from scheduler.ledger.keys import Grant
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings

PATIENCE_S = 20.0


@dataclass(frozen=True, kw_only=True)
class Live:
    """A running API.

    Attributes:
        url: Where it is.
        tls_port: Where it is by https, if it was asked to be.
        settings: Its settings.
        app: The application itself.
        key: A good key of `alice`.
    """

    url: str
    tls_port: int
    settings: Settings
    app: FastAPI
    key: str

    def client(self, **options: Any) -> httpx.Client:
        """Return a client that sends alice's key."""
        headers = {"authorization": f"Key {self.key}"} | options.pop("headers", {})
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE_S, **options)

    def make_key(self, owner: str, **grant: Any) -> str:
        """Return a new key of somebody's."""
        with self.app.state.ledger.begin() as session:
            return keys.create(session, Grant(owner=owner, **grant))


@contextmanager
def live(
    settings: Settings, *routers: APIRouter, tls: Mapping[str, Any] | None = None
) -> Iterator[Live]:
    """Serve for a block, with further routes of the test's own.

    Args:
        settings: Of the system.
        routers: Further routes.
        tls: Where key and certificate are, in uvicorn's names, to be reached by https as well.
    """
    ledger = Ledger(settings, connections=1)
    with ledger.begin() as session:
        key = keys.create(session, Grant(owner="alice"))
    ledger.close()
    listening = server.listen("127.0.0.1", 0)
    app = create_app(settings)
    for router in routers:
        app.include_router(router)
    secure = server.listen("127.0.0.1", 0)
    config = server.configured(app, settings)
    servers = [(uvicorn.Server(config), listening)]
    if tls is not None:
        servers.append((uvicorn.Server(_secured(config, tls)), secure))
    thread = threading.Thread(target=asyncio.run, args=(_serve(servers),))
    thread.start()
    try:
        _await(servers[0][0], thread)
        yield Live(
            url=f"http://127.0.0.1:{listening.getsockname()[1]}",
            tls_port=secure.getsockname()[1],
            settings=settings,
            app=app,
            key=key,
        )
    finally:
        for running, _ in servers:
            running.should_exit = True
        thread.join(PATIENCE_S)
        listening.close()
        secure.close()
        assert not thread.is_alive(), "the API did not stop"


def _secured(config: uvicorn.Config, tls: Mapping[str, Any]) -> uvicorn.Config:
    """Return a server of the same application, which starts and ends with the other."""
    return uvicorn.Config(
        config.app, http=config.http, log_config=None, access_log=False, lifespan="off", **tls
    )


async def _serve(servers: Sequence[tuple[uvicorn.Server, socket]]) -> None:
    await asyncio.gather(*(running.serve(sockets=[at]) for running, at in servers))


def _await(running: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not running.started:
        assert thread.is_alive(), "the API did not start"
        assert time.monotonic() < deadline, "the API did not start in time"
        time.sleep(0.01)
