"""The application: what its routes stand on, and which routers it has."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from models.version import VERSION
from scheduler.api import errors
from scheduler.api.edge import REQUEST_ID, Edge
from scheduler.api.keyring import Keyring
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from scheduler.storage import open_storage

THREADS = 16
"""Plain routes at work at once; each may hold a connection to the ledger."""
EXPOSED = (REQUEST_ID, "x-fal-error-type", "x-fal-request-timeout-type", "x-fal-needs-retry")
DAY_S = 24 * 3600


def create_app(settings: Settings) -> FastAPI:
    """Return the application for one process; it opens nothing before it is started.

    Routes find what they stand on in `request.app.state`: `settings`, `ledger`, `storage` and
    `keyring`.
    """
    app = FastAPI(
        title="Enlarger",
        version=VERSION,
        lifespan=_lifespan,
        redirect_slashes=False,  # clients follow no redirects
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    errors.handle(app)
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
    yield
    ledger.close()
