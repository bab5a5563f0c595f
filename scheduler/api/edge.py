"""The first to see a request and the last to see its answer: ids, area, origin, and the log's line.

Pure ASGI: it is passed by every poll of a status, and by streams that stay open for hours.
"""

import itertools
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from scheduler.api import errors
from scheduler.api.metrics import HttpFigures
from scheduler.api.places import Area, Bases, Places, header, is_host
from scheduler.settings import Network, Settings

log = structlog.get_logger()

VISIT = "enlarger.visit"
"""Where a visit lies in the ASGI scope."""
REQUEST_ID = "x-fal-request-id"
PROXY = "/api/fal/proxy"
TARGET = b"x-fal-target-url"
FOREIGN = (
    f"{TARGET.decode()}: must be an address of this server's queue, run or rest area, or of fal's, "
    "which stand for them; nothing else is fetched"
)


@dataclass(frozen=True, kw_only=True)
class Visit:
    """What is known of a request before anybody has looked at it.

    Attributes:
        id: Names it in the log; also the answer's `x-fal-request-id`, unless that is a job's.
        bases: Addresses as its caller sees them.
    """

    id: str
    bases: Bases


def visit_of(request: Request) -> Visit:
    """Return what the edge noted of a request."""
    found: Visit = request.scope[VISIT]
    return found


class Edge:
    """Wraps the application; nothing that happens inside leaves without an answer."""

    def __init__(self, app: ASGIApp, *, settings: Settings, figures: HttpFigures) -> None:
        self._app = app
        self._figures = figures
        self._places = Places(settings)
        self._trusted = settings.trusted_proxies
        # Drawn once: to ask the system for each would hand the interpreter's lock to other threads.
        self._prefix = secrets.token_hex(10)
        self._numbers = itertools.count()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = Answer(send, request_id=f"{self._prefix}{next(self._numbers):012x}")
        began = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request=answer.request_id):
            try:
                refusal = self._place(scope, answer.request_id)
                await (refusal or self._app)(scope, receive, answer.send)
            except Exception:  # the outermost frame of a request
                log.exception("request.crashed", route=_route(scope))
                if answer.status is not None:
                    raise  # half an answer is out: the server cuts the connection
                await errors.platform(500, "Internal server error", "internal_error")(
                    scope, receive, answer.send
                )
            finally:
                self._note(scope, answer.status, time.perf_counter() - began)

    def _place(self, scope: Scope, request_id: str) -> ASGIApp | None:
        """Rewrite the path to our own layout; return the answer where that can't be done."""
        headers = dict(scope["headers"])
        scheme, host = self._seen_as(scope, headers)
        if not is_host(host):
            return errors.plain(400, "host: the header Host is missing, or names no host")
        scope[VISIT] = Visit(id=request_id, bases=self._places.bases(scheme=scheme, host=host))
        area = self._places.area_of(host)
        path = scope["path"] if area is None else f"/{area.value}{scope['path']}"
        if path.rstrip("/") == PROXY:
            inside = self._places.inside(header(headers, TARGET), host=host)
            if inside is None:
                return errors.plain(400, FOREIGN)
            path, query = inside
            scope["query_string"] = query.encode()
        _set_path(scope, path)
        return None

    def _seen_as(self, scope: Scope, headers: dict[bytes, bytes]) -> tuple[str, str]:
        """Return scheme and host by which the caller reached us, or reached a proxy of ours."""
        scheme, host = scope["scheme"], header(headers, b"host")
        if _lies_in(scope.get("client"), self._trusted):
            told = header(headers, b"x-forwarded-proto").split(",")[0].strip().lower()
            scheme = told if told in ("http", "https") else scheme
            host = header(headers, b"x-forwarded-host").split(",")[0].strip() or host
        return scheme, host

    def _note(self, scope: Scope, status: int | None, seconds: float) -> None:
        """Count it, and write the log's line; polls that go well are only for those who debug."""
        method, route = scope["method"], _route(scope)
        self._figures.note(method=method, route=route, status=status, seconds=seconds)
        level = log.debug if method == "GET" and status in (200, 202) else log.info
        level("http.served", method=method, route=route, status=status, seconds=round(seconds, 4))


class Answer:
    """Sees an answer pass: notes its status, and gives it an id unless it has one."""

    def __init__(self, send: Send, *, request_id: str) -> None:
        self.request_id = request_id
        self.status: int | None = None
        self._send = send

    async def send(self, message: Message) -> None:
        """Pass a message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            MutableHeaders(raw=message["headers"]).setdefault(REQUEST_ID, self.request_id)
        await self._send(message)


def _set_path(scope: Scope, path: str) -> None:
    """Set the path; a slash at the end means nothing, except in names of files."""
    if not path.startswith(f"/{Area.CDN.value}/"):
        path = path.rstrip("/") or "/"
    scope["path"] = path
    scope["raw_path"] = path.encode()


def _lies_in(client: tuple[str, int] | None, networks: Sequence[Network]) -> bool:
    if client is None or not networks:
        return False
    try:
        address = ip_address(client[0])
    except ValueError:
        return False
    return any(address in network for network in networks)


def _route(scope: Scope) -> str:
    """Return the route's pattern: a path itself may hold a file's secret."""
    return getattr(scope.get("route"), "path", "")
