"""Lines of a byte stream, none of which can exhaust the memory."""

from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from scheduler.errors import RowInvalid
from scheduler.manifests.rows import Cursor

BLOCK = 2**16
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """One line.

    Attributes:
        data: Its bytes with the line end; of a line that is too long only the beginning.
        number: From 1.
        end: Where the next one begins, in bytes.
        whole: Whether `data` is all of it.
    """

    data: bytes
    number: int
    end: int
    whole: bool = True

    def text(self) -> str:
        """Return the line as text, with its line end.

        Raises:
            RowInvalid: It is too long or no UTF-8.
        """
        if not self.whole:
            raise RowInvalid(f"the row is longer than {len(self.data) - 1} bytes")
        try:
            return self.data.decode()
        except UnicodeDecodeError as exc:
            raise RowInvalid(f"the row is no UTF-8 at byte {exc.start + 1}") from exc


def numbered_lines(stream: BinaryIO, at: Cursor, *, limit: int) -> Iterator[Line]:
    """Yield the stream's lines, which end with a line feed; longer ones than `limit` are cut.

    Args:
        stream: Stands at byte `at["offset"]`; a byte-order mark at byte 0 is left out.
        at: Has `offset` and `line`, the number of the line before.
        limit: In bytes, the line end included.
    """
    end, number = at["offset"], at["line"]
    first = end == 0
    while data := stream.readline(limit + 1):
        end += len(data)
        number += 1
        if first:
            data, first = data.removeprefix(BYTE_ORDER_MARK), False
        if len(data) <= limit or data.endswith(b"\n"):
            yield Line(data, number, end)
        else:
            end += _rest(stream)
            yield Line(data, number, end, whole=False)


def _rest(stream: BinaryIO) -> int:
    """Read to the end of the line and return how many bytes that was."""
    size = 0
    while data := stream.readline(BLOCK):
        size += len(data)
        if data.endswith(b"\n"):
            break
    return size
