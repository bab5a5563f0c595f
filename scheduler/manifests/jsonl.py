"""JSON lines: one object a line, ``{"source": ..., "destination"?, "id"?, "arguments"?}``.

A byte-order mark, CRLF and blank lines are read over; a line counts from 1, blank ones included.
No row's fault concerns another.
"""

from collections.abc import Iterator
from typing import BinaryIO

from scheduler.errors import RowInvalid
from scheduler.manifests.columns import row_of
from scheduler.manifests.lines import Line, numbered_lines
from scheduler.manifests.manifest import ROW_BYTES, shown
from scheduler.manifests.rows import Cursor, Rejected, Row
from scheduler.manifests.strict_json import parse_object
from scheduler.storage import Address


class JsonLines:
    """The `Grammar` of JSON lines.

    Args:
        folder: Where the manifest lies, which its `file_name` column is relative to.
    """

    kind = "jsonl"
    expected = (
        'a manifest has one JSON object a line, such as {"source": "s3://bucket/key"}, '
        "and an image has an image's suffix"
    )

    def __init__(self, folder: Address) -> None:
        self._folder = folder

    def items(self, stream: BinaryIO, at: Cursor) -> Iterator[Row | Rejected]:
        """Yield one item for each line that is not blank."""
        version = at["version"]
        for line in numbered_lines(stream, at, limit=ROW_BYTES):
            if line.data.strip():
                cursor = {"offset": line.end, "line": line.number, "version": version}
                yield self._item(line, cursor)

    def _item(self, line: Line, cursor: Cursor) -> Row | Rejected:
        try:
            columns = parse_object(line.text())
            return row_of(columns, line=line.number, cursor=cursor, folder=self._folder)
        except RowInvalid as exc:
            return Rejected(
                line=line.number,
                field=exc.field,
                reason=str(exc),
                text=shown(line.data),
                cursor=cursor,
            )
