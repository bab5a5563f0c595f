"""The API on a real port, in a thread of the test's own process."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
        settings: Its settings.
        app: The application itself.
        key: A good key of `alice`.
    """

    url: str
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
def live(settings: Settings, *routers: APIRouter) -> Iterator[Live]:
    """Serve for a block, with further routes of the test's own."""
    ledger = Ledger(settings, connections=1)
    with ledger.begin() as session:
        key = keys.create(session, Grant(owner="alice"))
    ledger.close()
    listening = server.listen("127.0.0.1", 0)
    app = create_app(settings)
    for router in routers:
        app.include_router(router)
    running = uvicorn.Server(server.configured(app, settings))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        _await(running, thread)
        port = listening.getsockname()[1]
        yield Live(url=f"http://127.0.0.1:{port}", settings=settings, app=app, key=key)
    finally:
        running.should_exit = True
        thread.join(PATIENCE_S)
        listening.close()
        assert not thread.is_alive(), "the API did not stop"


def _await(running: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not running.started:
        assert thread.is_alive(), "the API did not start"
        assert time.monotonic() < deadline, "the API did not start in time"
        time.sleep(0.01)
