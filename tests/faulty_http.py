"""A local HTTP server whose every answer the test writes, down to cutting it in the middle."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(kw_only=True)
class Request:
    """One request as it came in, and the ways to answer it."""

    handler: BaseHTTPRequestHandler
    body: bytes
    number: int

    @property
    def method(self) -> str:
        return self.handler.command

    @property
    def path(self) -> str:
        return self.handler.path

    @property
    def first_byte(self) -> int:
        """Where a ranged GET begins."""
        wanted = self.handler.headers.get("Range", "bytes=0-")
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def answer(
        self, status: int, body: bytes = b"", *, cut_at: int | None = None, **headers: str
    ) -> None:
        """Send a whole answer; or promise it, send `cut_at` bytes of it, and hang up."""
        self.handler.send_response(status)
        self.handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.end_headers()
        if self.method != "HEAD":
            self.handler.wfile.write(body[:cut_at])
        self.handler.close_connection = cut_at is not None

    def answer_range(self, data: bytes, *, cut_at: int | None = None) -> None:
        """Send `data` from the byte that was asked for."""
        first = self.first_byte
        self.answer(
            206 if first else 200,
            data[first:],
            cut_at=cut_at,
            ETag='"one"',
            Content_Range=f"bytes {first}-{len(data) - 1}/{len(data)}",
        )


@dataclass(kw_only=True)
class Faulty:
    """The running server.

    Attributes:
        url: Its address.
        requests: Method and path of every request so far.
        ending: Set when the test is over; what hangs, hangs on this.
    """

    url: str
    requests: list[tuple[str, str]] = field(default_factory=list)
    ending: threading.Event = field(default_factory=threading.Event)


@contextmanager
def faulty_http(answer: Callable[[Request, Faulty], None]) -> Iterator[Faulty]:
    """Serve on a free port of the loopback; each request is answered by `answer`."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            faulty.requests.append((self.command, self.path))
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer(Request(handler=self, body=body, number=len(faulty.requests)), faulty)

        def __getattr__(self, name: str) -> Callable[[], None]:
            """Handle every method alike: the base class looks for ``do_GET`` and so on."""
            if name.startswith("do_"):
                return self.handle_one
            raise AttributeError(name)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    faulty = Faulty(url=f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield faulty
    finally:
        faulty.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()
