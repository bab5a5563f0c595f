"""JSON lines: one object a line, ``{"source": ..., "destination"?, "id"?, "arguments"?}``.

A byte-order mark, CRLF and blank lines are read over; a line counts from 1, blank ones included.
The file may be compressed with gzip, which its first bytes tell. No row's fault concerns another.
"""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from typing import BinaryIO, cast

from scheduler.errors import ObjectChanged, RowInvalid, SourceUnreadable
from scheduler.manifests.columns import SOURCE_MISSING, row_of
from scheduler.manifests.lines import Line, bounded_lines
from scheduler.manifests.rows import Cursor, Rejected, Row
from scheduler.manifests.strict_json import parse_object
from scheduler.storage import ObjectInfo, Storage, parse_address

ROW_BYTES = 2**20
"""Longest row; nothing that describes one image comes near it."""
QUOTED_CHARACTERS = 1000
"""How much of a bad row its rejection shows."""
LOOKED_AT = 100
"""Rows of which one must have a source, or the file is no manifest."""
LOOKED_AT_BYTES = 4 * ROW_BYTES
"""The same in bytes: a huge file without line ends is refused without reading it through."""
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
GZIP = b"\x1f\x8b"
BLOCK = 2**20


class JsonLines:
    """The `Source` of a JSON lines manifest.

    Args:
        storage: Where it is read from.
        info: The manifest itself; other bytes than these are never read.
    """

    kind = "jsonl"

    def __init__(self, storage: Storage, info: ObjectInfo) -> None:
        self._storage = storage
        self._info = info

    @property
    def roots(self) -> tuple[str, ...]:
        """The folder that holds a local manifest; a manifest on S3 has none."""
        place = parse_address(self._info.address)
        return (str(place.parent()),) if place.scheme == "file" else ()

    def version(self) -> str:
        """Return the ETag of a manifest on S3, the SHA-256 of a local one."""
        if self._info.address.startswith("s3://"):
            return f"etag:{self._info.etag}"
        return self._digest

    def check(self) -> None:
        """Refuse a file in whose first hundred rows none has a source."""
        first: Rejected | None = None
        with self._reading() as stream:
            beginning = io.BytesIO(stream.read(LOOKED_AT_BYTES))
        for item in islice(_parsed(beginning, offset=0, number=0, version=""), LOOKED_AT):
            if isinstance(item, Row) or (item.field and item.reason != SOURCE_MISSING):
                return
            first = first or item
        why = f"line {first.line}: {first.reason}" if first else "it has no rows"
        raise self._no_manifest(why)

    def rows(self, cursor: Cursor | None = None) -> Iterator[Row | Rejected]:
        """Yield one item for each line that is not blank."""
        version = self.version()
        at = cursor or {"offset": 0, "line": 0, "version": version}
        if at["version"] != version:
            raise self._changed()
        with self._reading(at["offset"]) as stream:
            yield from _parsed(stream, offset=at["offset"], number=at["line"], version=version)

    @contextmanager
    def _reading(self, start: int = 0) -> Iterator[BinaryIO]:
        """Open the manifest at a byte of its uncompressed content."""
        with self._faults(), self._opened(0 if self._compressed else start) as stream:
            if not self._compressed:
                yield stream
                return
            with gzip.GzipFile(fileobj=stream, mode="rb") as plain:
                plain.seek(start)  # Reads up to there: a compressed stream has no other way.
                yield cast("BinaryIO", plain)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except ObjectChanged as exc:
            raise self._changed() from exc
        except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
            raise self._no_manifest(f"its gzip compression is damaged ({exc})") from exc

    def _opened(self, start: int) -> BinaryIO:
        return self._storage.open(self._info.address, start=start, etag=self._info.etag)

    @cached_property
    def _compressed(self) -> bool:
        with self._opened(0) as stream:
            return stream.read(len(GZIP)) == GZIP

    @cached_property
    def _digest(self) -> str:
        found = hashlib.sha256()
        with self._faults(), self._opened(0) as stream:
            while block := stream.read(BLOCK):
                found.update(block)
        return f"sha256:{found.hexdigest()}"

    def _changed(self) -> SourceUnreadable:
        reason = (
            f"source: {self._info.address} was changed while its batch was being read; "
            "submit it again as a new batch"
        )
        return SourceUnreadable(reason, field="source")

    def _no_manifest(self, why: str) -> SourceUnreadable:
        reason = (
            f"source: {self._info.address} is no manifest: {why}; a manifest has one JSON object "
            'a line, such as {"source": "s3://bucket/key"}, and an image has an image\'s suffix'
        )
        return SourceUnreadable(reason, field="source")


def _parsed(
    stream: BinaryIO, *, offset: int, number: int, version: str
) -> Iterator[Row | Rejected]:
    """Read lines on from byte `offset`, which is behind line `number`."""
    for line in bounded_lines(stream, ROW_BYTES):
        data = line.data.removeprefix(BYTE_ORDER_MARK) if offset == 0 else line.data
        offset += line.size
        number += 1
        if data.strip():
            cursor = {"offset": offset, "line": number, "version": version}
            yield _item(line._replace(data=data), number, cursor)


def _item(line: Line, number: int, cursor: Cursor) -> Row | Rejected:
    """Read one line that is not blank."""
    try:
        if not line.whole:
            raise RowInvalid(f"the row is longer than {ROW_BYTES} bytes")
        return row_of(parse_object(_decoded(line.data)), line=number, cursor=cursor)
    except RowInvalid as exc:
        return Rejected(
            line=number, field=exc.field, reason=str(exc), text=_shown(line.data), cursor=cursor
        )


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise RowInvalid(f"the row is no UTF-8 at byte {exc.start + 1}") from exc


def _shown(data: bytes) -> str:
    text = data[: 4 * QUOTED_CHARACTERS].decode(errors="replace").strip()
    return text[:QUOTED_CHARACTERS].replace("\0", "\ufffd")
