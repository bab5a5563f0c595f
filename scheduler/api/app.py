"""The application: what its routes stand on, and which routers it has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio.to_thread
from fastapi import FastAPI
from redis.asyncio import Redis
from starlette.datastructures import State
from starlette.middleware.cors import CORSMiddleware

from models.version import VERSION
from scheduler.api import (
    batches,
    cdn,
    errors,
    events,
    openapi,
    operations,
    queue,
    run,
    storage,
    wellknown,
)
from scheduler.api.desk import Desk
from scheduler.api.edge import REQUEST_ID, Edge
from scheduler.api.following import Followed
from scheduler.api.hub import Hub
from scheduler.api.inbox import Inbox
from scheduler.api.keyring import Keyring
from scheduler.api.lines import Lines
from scheduler.api.lookups import Lookups
from scheduler.api.metrics import HttpFigures
from scheduler.api.readiness import Readiness
from scheduler.broker import connect, redis_url
from scheduler.files.intake import Intake
from scheduler.files.published import Publisher
from scheduler.files.room import FileRoom
from scheduler.ledger.session import Ledger
from scheduler.live import STREAM
from scheduler.pace import Paces
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage
from scheduler.triggers.receiver import Receiver

THREADS = 16
"""Plain routes at work at once; each may hold a connection to the ledger."""
EXPOSED = (REQUEST_ID, "x-fal-error-type", "x-fal-request-timeout-type", "x-fal-needs-retry")
DAY_S = 24 * 3600
CERTIFICATE_BYTES = 2**16
ROUTERS = (
    queue.router,
    run.router,
    storage.router,
    cdn.router,
    batches.router,
    events.router,
    operations.router,
    wellknown.router,
)


def create_app(settings: Settings) -> FastAPI:
    """Return the application for one process; it opens nothing before it is started.

    Routes find what they stand on in `request.app.state`.

    Raises:
        SettingsInvalid: There is no database, no Redis, no place for files or no secret.
    """
    app = FastAPI(
        title="Enlarger",
        version=VERSION,
        lifespan=_lifespan,
        redirect_slashes=False,  # clients follow no redirects
        docs_url=None,
        redoc_url=None,
    )
    _furnish(app.state, settings)
    errors.handle(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Edge, settings=settings, figures=app.state.http)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "POST", "PUT", "OPTIONS"],
        allow_headers=["*"],
        expose_headers=list(EXPOSED),
        max_age=DAY_S,
    )
    app.openapi = partial(openapi.describe, app)  # type: ignore[method-assign]
    return app


def _furnish(state: State, settings: Settings) -> None:
    """Put there what routes stand on."""
    ledger = Ledger(settings, connections=THREADS)
    state.settings = settings
    state.ledger = ledger
    state.storage = open_storage(settings)
    state.room = FileRoom(ledger, state.storage, settings)
    state.publisher = Publisher(ledger, state.storage, state.room)
    state.intake = Intake(state.room, state.publisher, max_bytes=settings.max_input_bytes)
    state.keyring = Keyring(ledger)
    state.lines = Lines(ledger)
    state.lookups = Lookups(ledger)
    state.receiver = Receiver(ledger, settings, partial(_fetched, state.storage))
    redis = Redis.from_url(redis_url(settings), socket_timeout=10, health_check_interval=25)
    state.hub = Hub(ledger, redis, stream=settings.redis_prefix + STREAM)
    state.inbox = Inbox(ledger, Desk(ledger, state.room, state.intake, state.lines))
    state.paces = Paces()
    state.followed = Followed(ledger)
    state.http = HttpFigures()
    place = str(state.room.root.child("readiness"))
    state.readiness = Readiness(ledger, connect(settings), state.storage, place=place)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep counters and followers up to date for as long as the application runs."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    app.state.lines.start()
    app.state.hub.start()
    yield
    await app.state.hub.close()
    await app.state.lines.close()
    app.state.ledger.close()


def _fetched(storage: Storage, url: str) -> bytes:
    return storage.read(url, max_bytes=CERTIFICATE_BYTES).data
