"""Lines of a byte stream, none of which can exhaust the memory."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

BLOCK = 2**16


class Line(NamedTuple):
    """One line.

    Attributes:
        data: Its bytes with the line end; of a line that is too long only the beginning.
        size: Its length in the stream, in bytes.
        whole: Whether `data` is all of it.
    """

    data: bytes
    size: int
    whole: bool


def bounded_lines(stream: BinaryIO, limit: int) -> Iterator[Line]:
    """Yield the stream's lines, which end with a line feed; longer ones than `limit` are cut."""
    while data := stream.readline(limit + 1):
        if len(data) <= limit or data.endswith(b"\n"):
            yield Line(data, len(data), whole=True)
        else:
            yield Line(data, len(data) + _rest(stream), whole=False)


def _rest(stream: BinaryIO) -> int:
    """Read to the end of the line and return how many bytes that was."""
    size = 0
    while data := stream.readline(BLOCK):
        size += len(data)
        if data.endswith(b"\n"):
            break
    return size
