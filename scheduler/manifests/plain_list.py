"""Plain lists: one address a line, or one name in the list's own bucket or folder."""

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from scheduler.errors import AddressInvalid, RowInvalid
from scheduler.manifests.columns import row_of
from scheduler.manifests.dialect import Dialect, Encoding, decoded
from scheduler.manifests.lines import Line, numbered_lines
from scheduler.manifests.manifest import shown
from scheduler.manifests.rows import Cursor, Item, Rejected, Skipped
from scheduler.storage import Address, parse_address

LINE_BYTES = 2**14
SCHEMES = ("s3://", "file://", "http://", "https://")


class PlainList:
    """The `Grammar` of plain lists.

    Args:
        dialect: How keys are written (as they are, if nothing is said), and whether `#` begins a
            comment. A key may begin with one, so that has to be asked for.
        folder: Where the list lies. A name without a scheme is a path relative to it, or on S3 a
            whole key of the list's bucket.
    """

    kind = "list"
    expected = "a plain list has one address a line, such as s3://bucket/key"

    def __init__(self, dialect: Dialect, folder: Address) -> None:
        self._encoding = dialect.encoding or Encoding.RAW
        self._comments = dialect.comments
        self._root = replace(folder, key="") if folder.scheme == "s3" else folder

    def items(self, stream: BinaryIO, at: Cursor) -> Iterator[Item]:
        """Yield one item for each line that is neither blank nor a comment."""
        version = at["version"]
        for line in numbered_lines(stream, at, limit=LINE_BYTES):
            if line.data.strip() and not (self._comments and line.data.startswith(b"#")):
                yield self._item(
                    line, {"offset": line.end, "line": line.number, "version": version}
                )

    def _item(self, line: Line, cursor: Cursor) -> Item:
        try:
            text = line.text().rstrip("\r\n")
            source, other = self._address(text)
            if source.startswith("s3://") and source.endswith("/"):
                why = "a folder marker"
                return Skipped(line=line.number, source=source, reason=why, cursor=cursor)
            columns = {"source": source, "source_alternative": other}
            return row_of(columns, line=line.number, cursor=cursor)
        except RowInvalid as exc:
            return Rejected(
                line=line.number,
                field=exc.field,
                reason=str(exc),
                text=shown(line.data),
                cursor=cursor,
            )

    def _address(self, text: str) -> tuple[str, str | None]:
        """Return the address that a line means, and another reading of it.

        Raises:
            RowInvalid: It means none.
        """
        if text.startswith(SCHEMES) and not text.startswith("s3://"):
            return text, None
        try:
            place = parse_address(text) if text.startswith("s3://") else None
            root = (
                self._root if place is None else Address(scheme="s3", bucket=place.bucket, key="")
            )
            names = decoded(text if place is None else place.key, self._encoding)
            source, other = (None if name is None else str(root.child(name)) for name in names)
        except UnicodeDecodeError as exc:
            raise RowInvalid(
                f"source: {text!r} has escapes that are no UTF-8", field="source"
            ) from exc
        except AddressInvalid as exc:
            raise RowInvalid(f"source: {exc}", field="source") from exc
        assert source is not None
        return source, other
