"""The application: what its routes stand on, and which routers it has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from models.version import VERSION
from scheduler.api import cdn, errors, storage
from scheduler.api.edge import REQUEST_ID, Edge
from scheduler.api.keyring import Keyring
from scheduler.files.intake import Intake
from scheduler.files.published import Publisher
from scheduler.files.room import FileRoom, check
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from scheduler.storage import open_storage

THREADS = 16
"""Plain routes at work at once; each may hold a connection to the ledger."""
EXPOSED = (REQUEST_ID, "x-fal-error-type", "x-fal-request-timeout-type", "x-fal-needs-retry")
DAY_S = 24 * 3600
ROUTERS = (storage.router, cdn.router)


def create_app(settings: Settings) -> FastAPI:
    """Return the application for one process; it opens nothing before it is started.

    Routes find what they stand on in `request.app.state`: `settings`, `ledger`, `storage`,
    `keyring`, and for files `room`, `publisher` and `intake`.

    Raises:
        SettingsInvalid: There is no place for files of requests, or no secret key.
    """
    app = FastAPI(
        title="Enlarger",
        version=VERSION,
        lifespan=_lifespan,
        redirect_slashes=False,  # clients follow no redirects
        docs_url=None,
        redoc_url=None,
    )
    check(settings)
    app.state.settings = settings
    errors.handle(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Edge, settings=settings)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["*"],
        allow_methods=["GET", "POST", "PUT", "OPTIONS"],
        allow_headers=["*"],
        expose_headers=list(EXPOSED),
        max_age=DAY_S,
    )
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open what routes stand on for as long as the application runs."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
    ledger = Ledger(app.state.settings, connections=THREADS)
    app.state.ledger = ledger
    app.state.storage = open_storage(app.state.settings)
    app.state.keyring = Keyring(ledger)
    _open_files(app)
    yield
    ledger.close()


def _open_files(app: FastAPI) -> None:
    """Open what routes about files stand on."""
    state = app.state
    state.room = FileRoom(state.ledger, state.storage, state.settings)
    state.publisher = Publisher(state.ledger, state.storage, state.room)
    limit = state.settings.max_input_bytes
    state.intake = Intake(state.room, state.publisher, max_bytes=limit)
