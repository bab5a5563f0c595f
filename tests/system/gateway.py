"""An S3 endpoint in front of the real one, which misbehaves on command."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from urllib.parse import urlsplit

from tests.faulty_http import Faulty, Request, faulty_http

OWN_HEADERS = {"connection", "content-length", "date", "server", "transfer-encoding"}
"""Headers that belong to one connection, not to the answer."""
HANGS_S = 60.0
ERROR = "<Error><Code>{code}</Code><Message>{code}</Message></Error>"


class Fault(StrEnum):
    """How the store is unwell."""

    UNAVAILABLE = "unavailable"
    """Every request is answered with 503."""
    HANGING = "hanging"
    """No request is answered."""
    CUTTING = "cutting"
    """Requests are done, and the connection is cut in the middle of the answer."""


class Gateway:
    """Passes requests on, unless told otherwise.

    Attributes:
        url: What the system under test takes for the store.
        upstream: The real one.
        fault: What is wrong now.
        denied: Ends of paths that nobody may read.
        refusals: How many requests were not answered properly.
    """

    def __init__(self, upstream: str) -> None:
        self.url = ""
        self.fault: Fault | None = None
        self.denied: tuple[str, ...] = ()
        self.refusals = 0
        self.upstream = upstream
        self._healed = threading.Event()

    def strike(self, fault: Fault) -> None:
        """Begin to be unwell."""
        self._healed = threading.Event()
        self.refusals = 0
        self.fault = fault

    def heal(self) -> None:
        """Be well; requests that hang find their connection closed."""
        self.fault = None
        self._healed.set()

    def answer(self, request: Request, server: Faulty) -> None:
        """Answer one request."""
        if request.path.partition("?")[0].endswith(self.denied or "\0"):
            return _refuse(request, 403, "AccessDenied")
        if self.fault is None:
            return self._pass_on(request)
        self.refusals += 1
        if self.fault is Fault.UNAVAILABLE:
            return _refuse(request, 503, "ServiceUnavailable")
        if self.fault is Fault.CUTTING:
            return self._pass_on(request, cut=True)
        self._hang(request, server)
        return None

    def _hang(self, request: Request, server: Faulty) -> None:
        healed = self._healed
        deadline = time.monotonic() + HANGS_S
        while not (healed.wait(0.05) or server.ending.is_set() or time.monotonic() > deadline):
            pass
        request.handler.close_connection = True

    def _pass_on(self, request: Request, *, cut: bool = False) -> None:
        handler = request.handler
        upstream = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=HANGS_S)
        headers = {k: v for k, v in handler.headers.items() if k.lower() not in ("expect", "host")}
        upstream.request(request.method, request.path, body=request.body, headers=headers)
        found = upstream.getresponse()
        body = found.read()
        upstream.close()
        if cut and not body:
            handler.close_connection = True
            return
        handler.send_response_only(found.status)
        for name, value in found.getheaders():
            if name.lower() not in OWN_HEADERS:
                handler.send_header(name, value)
        length = found.getheader("Content-Length") if request.method == "HEAD" else None
        handler.send_header("Content-Length", length or str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2] if cut else body)
        handler.close_connection = cut


def _refuse(request: Request, status: int, code: str) -> None:
    request.answer(status, ERROR.format(code=code).encode(), Content_Type="application/xml")


@contextmanager
def gateway(upstream: str) -> Iterator[Gateway]:
    """Run a gateway on a free port of the loopback."""
    it = Gateway(upstream)
    with faulty_http(it.answer) as server:
        it.url = server.url
        yield it
        it.heal()
