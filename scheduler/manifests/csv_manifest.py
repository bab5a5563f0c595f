"""CSV manifests: those of S3 Batch Operations, and any with a header.

``bucket,key[,version]`` without a header is how AWS writes them (JobManifestSpec, format
``S3BatchOperations_CSV_20180820``); further columns are declared beside the file, as `fields`.
A header is recognised by its exact names only, and never where fields are given.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from scheduler.errors import AddressInvalid, RowInvalid, SourceUnreadable
from scheduler.manifests.columns import ALIASES, row_of
from scheduler.manifests.csv_records import Record, records
from scheduler.manifests.dialect import Dialect, Encoding, decoded
from scheduler.manifests.manifest import shown
from scheduler.manifests.rows import Cursor, Item, Rejected, Skipped, unstorable
from scheduler.storage import Address
from scheduler.storage.address import s3_address

BUCKET, KEY, VERSION, IGNORE = "bucket", "key", "version_id", "ignore"
AWS = {"bucket": BUCKET, "key": KEY, "versionid": VERSION, "ignore": IGNORE}
"""AWS's own names of columns, in lower case."""
USUAL: Mapping[int, tuple[str, ...]] = {2: (BUCKET, KEY), 3: (BUCKET, KEY, VERSION)}
"""What columns without a name are, by how many there are."""
SOURCES = {"source", *ALIASES["source"]}


class CsvManifest:
    """The `Grammar` of CSV manifests.

    Args:
        dialect: The columns, if there is no header, and how the keys are written.
        folder: Where the manifest lies, which its `file_name` column is relative to.

    Raises:
        SourceUnreadable: The fields name no image.
    """

    kind = "csv"
    expected = (
        "a CSV manifest has rows such as bucket,key or bucket,key,version, or a header with "
        "source or file_name; name other columns with --fields Bucket,Key,VersionId,Ignore"
    )

    def __init__(self, dialect: Dialect, folder: Address) -> None:
        self._fields = [_canonical(name) for name in dialect.fields]
        self._encoding = dialect.encoding or Encoding.AUTO
        self._folder = folder
        if self._fields and not _names_images(self._fields):
            given = ",".join(dialect.fields)
            reason = f"fields: {given} name no image; they must have Bucket and Key, or source"
            raise SourceUnreadable(reason, field="fields")

    def items(self, stream: BinaryIO, at: Cursor) -> Iterator[Item]:
        """Yield one item for each record that is not empty; the header is none."""
        columns = at.get("columns") or self._fields or None
        kept = {"version": at["version"], **({"columns": at["columns"]} if "columns" in at else {})}
        for record in records(stream, at):
            if columns is None and record.number == 1 and (found := _header(record.cells)):
                columns = kept["columns"] = found
                continue
            cursor = {**kept, "offset": record.last.end, "line": record.last.number}
            yield self._item(record, columns, cursor)

    def _item(self, record: Record, columns: Sequence[str] | None, cursor: Cursor) -> Item:
        try:
            if record.fault is not None:
                raise RowInvalid(record.fault)
            named = _named(record.cells, columns)
            if KEY in named and BUCKET in named:
                bucket, key = named.pop(BUCKET), named.pop(KEY)
                return self._object(named, bucket, key, record.number, cursor)
            return row_of(named, line=record.number, cursor=cursor, folder=self._folder)
        except RowInvalid as exc:
            return Rejected(
                line=record.number,
                field=exc.field,
                reason=str(exc),
                text=shown(record.data),
                cursor=cursor,
            )

    def _object(
        self, named: dict[str, Any], bucket: str, key: str, line: int, cursor: Cursor
    ) -> Item:
        """Read a row that names a bucket and a key."""
        try:
            found, other = decoded(key, self._encoding)
        except UnicodeDecodeError as exc:
            reason = (
                f"key: {key!r} has escapes that are no UTF-8; say --encoding raw if they are none"
            )
            raise RowInvalid(reason, field=KEY) from exc
        source = _address(bucket, found)
        if source.endswith("/"):
            return Skipped(line=line, source=source, reason="a folder marker", cursor=cursor)
        named["source"] = source
        if other is not None and not other.endswith("/"):
            named["source_alternative"] = _address(bucket, other)
        return row_of(named, line=line, cursor=cursor)


def _address(bucket: str, key: str) -> str:
    if unstorable(key):
        reason = f"key: {key!a} holds a NUL character; rename the object"
        raise RowInvalid(reason, field=KEY)
    try:
        return str(s3_address(bucket, key))
    except AddressInvalid as exc:
        raise RowInvalid(f"source: {exc}", field="source") from exc


def _canonical(name: str) -> str:
    return AWS.get(name.strip().lower(), name.strip())


def _names_images(columns: Sequence[str]) -> bool:
    return {BUCKET, KEY} <= set(columns) or not SOURCES.isdisjoint(columns)


def _header(cells: Sequence[str]) -> list[str] | None:
    names = [_canonical(cell) for cell in cells]
    return names if _names_images(names) else None


def _named(cells: Sequence[str], columns: Sequence[str] | None) -> dict[str, Any]:
    """Return the cells by their columns' names; an empty one of ours is absent."""
    names = columns or USUAL.get(len(cells))
    if names is None:
        reason = f"the row has {len(cells)} columns; name them with --fields Bucket,Key,Ignore"
        raise RowInvalid(reason)
    if len(cells) != len(names):
        reason = f"the row has {len(cells)} columns, not {len(names)}: {','.join(names)}"
        raise RowInvalid(reason)
    return {
        name: cell
        for name, cell in zip(names, cells, strict=True)
        if name != IGNORE and (cell or name not in OURS)
    }


OURS = {BUCKET, KEY, *ALIASES, *(other for others in ALIASES.values() for other in others)}
