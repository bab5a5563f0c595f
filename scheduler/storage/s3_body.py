"""The bytes of an S3 object as a stream that outlives its connections."""

import io
from collections.abc import Callable

from botocore.exceptions import HTTPClientError, IncompleteReadError, ResponseStreamingError
from botocore.response import StreamingBody
from urllib3.exceptions import SSLError

from scheduler.storage.address import Address
from scheduler.storage.s3_errors import s3_errors

BROKEN = (HTTPClientError, IncompleteReadError)
"""What a connection does that hangs or ends early. A wrong checksum is not among them."""


class S3Body(io.RawIOBase):
    """Reads on at the byte where a connection broke.

    Args:
        place: For messages.
        fetch: Opens the same version of the object at a byte; None at its end.
        start: The first byte.
        attempts: Connections that may break one after another without a byte between them.
    """

    def __init__(
        self,
        place: Address,
        fetch: Callable[[int], StreamingBody | None],
        *,
        start: int,
        attempts: int,
    ) -> None:
        super().__init__()
        self._place = place
        self._fetch = fetch
        self._position = start
        self._attempts = attempts
        self._broken = 0
        self._body: StreamingBody | None = None  # Set even if the next line raises: close() looks.
        self._body = fetch(start)

    def readable(self) -> bool:
        """Whether bytes can be read: always."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` with what the connection has next."""
        chunk = self._read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def close(self) -> None:
        """Drop the connection."""
        if self._body is not None:
            self._body.close()
        super().close()

    def _read(self, size: int) -> bytes:
        while self._body is not None:
            try:
                with s3_errors(self._place):
                    return self._counted(self._body, size)
            except _Broken:
                self._body.close()
                self._body = self._fetch(self._position)
        return b""

    def _counted(self, body: StreamingBody, size: int) -> bytes:
        try:
            chunk = _received(body, size)
        except BROKEN as exc:
            self._broken += 1
            if self._broken >= self._attempts:
                raise
            raise _Broken from exc
        self._position += len(chunk)
        if chunk:
            self._broken = 0
        return chunk


def _received(body: StreamingBody, size: int) -> bytes:
    """Read; botocore maps all that urllib3 raises here but one."""
    try:
        return body.read(size)
    except SSLError as exc:
        raise ResponseStreamingError(error=exc) from exc


class _Broken(Exception):
    """The connection is gone, and another may be tried."""
