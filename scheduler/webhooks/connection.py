"""One kept-alive HTTP/1.1 connection to a consumer; one exchange after the other goes over it.

A general client spends more on one POST than all else that is done for a message costs. This one
sends bytes that are ready, and reads a status, one header and the beginning of a body. The parser
is llhttp's, in its strict mode.
"""

import asyncio
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

HEAD_BYTES = 65_536
"""An answer whose head is longer is none."""
BODY_BYTES = 4096
"""What is kept of a body; a connection with a longer one is closed."""


class Disconnected(ConnectionError):
    """The consumer closed the connection before a status came."""


class NoHttp(ConnectionError):
    """What came is no HTTP."""


class Connection(asyncio.Protocol):
    """A connection, and what it has read of the answer to the exchange that ran last.

    Attributes:
        status: Of the answer; None before its head is complete.
        retry_after: The header of that name.
        body: The beginning of the body.
        broke_off: The body did not come to its end in time.
    """

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._done: asyncio.Future[None] | None = None
        self._begin()

    def _begin(self) -> None:
        self.status: int | None = None
        self.retry_after: str | None = None
        self.body = b""
        self.broke_off = False
        self._head_bytes = 0

    async def exchange(self, message: bytes, *, until: float) -> None:
        """Send a request, head and body, and wait for the answer; its status counts without an end.

        Args:
            message: The whole request.
            until: When to wait no longer, by the loop's clock.

        Raises:
            TimeoutError: No status came in time.
            Disconnected: The connection was closed before a status came.
            NoHttp: What came is something else.
            OSError: The connection broke.
        """
        self._begin()
        loop = asyncio.get_running_loop()
        self._done = loop.create_future()
        timer = loop.call_at(until, self._late)
        self._transport.write(message)
        try:
            await self._done
        except BaseException:
            self.close()
            raise
        finally:
            timer.cancel()
            self._done = None

    def is_free(self) -> bool:
        """Tell whether another exchange may begin."""
        return self._done is None and not self._transport.is_closing()

    def close(self) -> None:
        """Close it at once."""
        self._transport.abort()

    def _late(self) -> None:
        self.broke_off = True
        self._lost(TimeoutError())

    def _lost(self, exc: Exception) -> None:
        if self.status is not None:
            self._end(keep=False)
        else:
            self._fail(exc)

    def _end(self, *, keep: bool) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_result(None)
        if not keep:
            self.close()

    def _fail(self, exc: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(exc)
        self.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport over."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Read on; an answer that nobody waits for ends the connection."""
        if self._done is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._end(keep=False)  # 101: an answer like any other, and the last one
        except HttpParserError as exc:
            self._lost(NoHttp(f"no HTTP came: {exc}"))
        if self.status is None:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._fail(NoHttp(f"the head of the answer is longer than {HEAD_BYTES} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        """End what runs; a body without a length ends so."""
        self.broke_off = exc is not None
        self._lost(exc or Disconnected("the connection was closed before an answer came"))

    def on_message_begin(self) -> None:
        """Accept one answer for one request."""
        if self.status is not None:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the one header that counts."""
        if self.status is None and name.lower() == b"retry-after":
            self.retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Keep the status; 1xx only say that an answer will come."""
        status = self._parser.get_status_code()
        if self.status is None and (status >= 200 or status == 101):
            self.status = status

    def on_body(self, body: bytes) -> None:
        """Keep the beginning, and do without the rest."""
        self.body += body[: BODY_BYTES - len(self.body)]
        if len(self.body) >= BODY_BYTES:
            self._end(keep=False)

    def on_message_complete(self) -> None:
        """End the exchange; a consumer that answers before it was told all is told no more."""
        if self.status is not None:
            told = not self._transport.get_write_buffer_size()
            self._end(keep=told and self._parser.should_keep_alive())
