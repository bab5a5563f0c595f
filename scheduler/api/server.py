"""The API's process: migrate, serve, and end without cutting anybody off."""

import resource
import socket
import threading

import structlog
import uvicorn
from fastapi import FastAPI

from scheduler.api.app import create_app
from scheduler.errors import AddressInUse, LedgerUnavailable
from scheduler.ledger.session import upgrade
from scheduler.settings import Settings

log = structlog.get_logger()

KEEP_ALIVE_S = 75
BACKLOG = 2048
MOST_FILES = 65536
RETRY_S = 1.0


def run(settings: Settings, *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; then finish what is open, for `grace_s` at the most.

    Raises:
        AddressInUse: Somebody else listens there.
    """
    raise_file_limit()
    listening = listen(host, port)
    _migrate(settings)
    bound = listening.getsockname()
    log.info("api.started", host=bound[0], port=bound[1])
    uvicorn.Server(configured(create_app(settings), settings)).run(sockets=[listening])
    log.info("api.stopped")


def raise_file_limit() -> None:
    """Allow as many open connections as the system lets us; shells begin with 1024 or fewer."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else most
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def configured(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """Return how an application is served."""
    return uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        log_config=None,
        access_log=False,
        proxy_headers=False,  # the edge reads them, and believes fewer
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.grace_s)),
    )


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one.

    Raises:
        AddressInUse: Somebody else listens there, or the address is not this host's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named, as asyncio turns Nagle's algorithm off only where it is; with it on,
    # each answer in two pieces waits 40 ms for the other side's delayed acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(BACKLOG)
    except OSError as exc:
        listening.close()
        reason = f"port: can't listen at {host}:{port}: {exc.strerror}; choose another --port"
        raise AddressInUse(reason, field="port") from exc
    return listening


def _migrate(settings: Settings) -> None:
    """Bring the ledger to the newest schema; one that is still starting is waited for."""
    while True:
        try:
            upgrade(settings)
        except LedgerUnavailable as exc:
            log.warning("ledger.unavailable", reason=str(exc))
            threading.Event().wait(RETRY_S)
        else:
            return
