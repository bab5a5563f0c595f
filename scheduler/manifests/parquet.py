"""Parquet through pyarrow, which the extra `parquet` installs: row group by row group.

Such a file is read from its end, so it is copied into a temporary file first, and what was copied
is verified before anything of it is read.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from scheduler.errors import RowInvalid, SourceUnreadable, StorageUnavailable
from scheduler.manifests.columns import row_of
from scheduler.manifests.document import Document
from scheduler.manifests.manifest import QUOTED_CHARACTERS, refuse_no_manifest
from scheduler.manifests.rows import Cursor, Item, Rejected

ROWS = 2000
"""Decoded at a time."""
BUFFER_BYTES = 2**20


class ParquetManifest:
    """The `Source` of a Parquet file with named columns, such as imagefolder's `metadata.parquet`.

    Its columns are those of JSON lines. Columns of bytes are left out: what they hold (often the
    picture itself) is no name of one.

    Args:
        document: The file.
    """

    kind = "parquet"
    expected = "a Parquet manifest has a column source or file_name"

    def __init__(self, document: Document) -> None:
        self._document = document

    @property
    def roots(self) -> tuple[str, ...]:
        """The folder that holds a local manifest; a manifest on S3 has none."""
        return self._document.roots

    def version(self) -> str:
        """Return the ETag of a manifest on S3, the SHA-256 of a local one."""
        return self._document.version()

    def check(self) -> None:
        """Refuse a file in whose first hundred rows none has a source."""
        refuse_no_manifest(self.rows(), self._document, self.expected)

    def rows(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Yield one item for each row."""
        version = self.version()
        at = cursor or {"line": 0, "version": version}
        if at["version"] != version:
            raise self._document.changed()
        names: list[str] = []

        def wanted(found: Sequence[str]) -> Sequence[str]:
            names.extend(found)
            return found

        values = column_values(self._document, wanted, at["line"])
        for line, row in enumerate(values, start=at["line"] + 1):
            columns = dict(zip(names, row, strict=True))
            yield self._item(columns, line, {"line": line, "version": version})

    def _item(self, columns: dict[str, Any], line: int, cursor: Cursor) -> Item:
        try:
            return row_of(columns, line=line, cursor=cursor, folder=self._document.folder)
        except RowInvalid as exc:
            text = str(columns)[:QUOTED_CHARACTERS].replace("\0", "\ufffd")
            return Rejected(line=line, field=exc.field, reason=str(exc), text=text, cursor=cursor)


def column_values(
    document: Document,
    wanted: Callable[[Sequence[str]], Sequence[str | None]],
    start: int,
) -> Iterator[tuple[Any, ...]]:
    """Yield a file's rows from row `start` (from 0) on, in constant memory.

    Args:
        document: The file.
        wanted: Chooses among its columns' names; None stands for a column of nulls.
        start: How many rows to leave out.

    Raises:
        SourceUnreadable: It is no Parquet file, or a damaged one, or pyarrow is missing.
        StorageUnavailable: The store does not answer, or there is no room for a copy.
    """
    arrow, parquet = _pyarrow()
    with _copied(document) as path:
        try:
            file = parquet.ParquetFile(path, buffer_size=BUFFER_BYTES, pre_buffer=False)
            names = [each.name for each in file.schema_arrow if not _is_bytes(arrow, each.type)]
            columns = wanted(names)
            for group in range(file.num_row_groups):
                rows = file.metadata.row_group(group).num_rows
                if start < rows:
                    yield from islice(_group(file, group, columns), start, None)
                start = max(0, start - rows)
        except (arrow.ArrowException, OSError, ValueError) as exc:
            raise document.unreadable(f"is no Parquet file that can be read: {exc}") from exc


def _group(
    file: Any,  # noqa: ANN401 - pyarrow has no types
    group: int,
    columns: Sequence[str | None],
) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of one row group."""
    there = [name for name in columns if name is not None]
    for batch in file.iter_batches(batch_size=ROWS, row_groups=[group], columns=there):
        found = {
            name: batch.column(position).to_pylist()
            for position, name in enumerate(batch.schema.names)
        }
        nulls = [None] * batch.num_rows
        yield from zip(*(found.get(name, nulls) for name in columns), strict=True)


def _is_bytes(arrow: Any, kind: Any) -> bool:  # noqa: ANN401 - pyarrow has no types
    return bool(arrow.types.is_binary(kind) or arrow.types.is_large_binary(kind))


@contextmanager
def _copied(document: Document) -> Iterator[Path]:
    """Copy a document into a temporary file, and verify it."""
    with tempfile.TemporaryDirectory(prefix="enlarger-manifest-") as folder:
        path = Path(folder) / "copy.parquet"
        with document.stored() as stream:
            try:
                with path.open("wb") as file:
                    shutil.copyfileobj(stream, file, BUFFER_BYTES)
            except OSError as exc:
                reason = (
                    f"{folder}: a copy of {document.address} can't be written there ({exc}); "
                    "free space or set TMPDIR"
                )
                raise StorageUnavailable(reason) from exc
        yield path


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as exc:
        reason = (
            "source: Parquet is read by pyarrow; install it with: pip install 'enlarger[parquet]'"
        )
        raise SourceUnreadable(reason, field="source") from exc
    return pyarrow, parquet
