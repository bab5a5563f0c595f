"""S3 Inventory: a `manifest.json` that names data files, in CSV or Parquet, of a bucket's objects.

An inventory is a listing that somebody else has made, so it is read like one: names are chosen as
in a folder, and delete markers, older versions, folder markers and empty objects are skipped. It is
of some hours ago; what is gone by now fails as a job.
(Amazon S3 User Guide, "Cataloging and analyzing your data with S3 Inventory".)
"""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field, ValidationError

from scheduler.errors import AddressInvalid, ObjectMissing
from scheduler.manifests.csv_records import records
from scheduler.manifests.dialect import Encoding, decoded
from scheduler.manifests.document import Document
from scheduler.manifests.globs import Globs
from scheduler.manifests.parquet import column_values
from scheduler.manifests.rows import Cursor, Item, Rejected, Row, Skipped, unstorable
from scheduler.storage import Address
from scheduler.storage.address import object_address, s3_address

MANIFEST_BYTES = 2**24
"""Longest `manifest.json`: some fifty thousand data files."""
CHECKSUM_BYTES = 1024
NAME = "manifest.json"
CHECKSUM_NAME = "manifest.checksum"
COLUMNS = ("bucket", "key", "versionid", "islatest", "isdeletemarker", "size")
"""What is read of a data file, in lower case without underscores."""


class DataFile(BaseModel):
    """One data file, as the manifest names it."""

    key: str = Field(min_length=1)
    size: int = Field(ge=0)
    md5: str = Field(alias="MD5checksum", pattern="^[0-9a-fA-F]{32}$")


class InventoryManifest(BaseModel):
    """What is read of a `manifest.json`."""

    destination_bucket: str = Field(alias="destinationBucket")
    file_format: Literal["CSV", "Parquet"] = Field(alias="fileFormat")
    file_schema: str = Field(alias="fileSchema")
    files: list[DataFile]


class Entry(NamedTuple):
    """One row of a data file as it stands there: texts in CSV, values in Parquet."""

    bucket: str | None
    key: str | None
    version: str | None
    is_latest: str | bool | None
    is_marker: str | bool | None
    size: str | int | None


class Inventory:
    """The `Source` of an inventory.

    Args:
        document: Its `manifest.json`. The data files are where that says: in its
            `destinationBucket`.
        globs: Which objects are meant.
        encoding: How keys are written; None for what AWS does: as in forms in CSV, as they are in
            Parquet.
        destination: Where the results go; what is there already is never a source.
    """

    kind = "inventory"

    def __init__(
        self,
        document: Document,
        globs: Globs,
        *,
        encoding: Encoding | None,
        destination: Address | None,
    ) -> None:
        self._document = document
        self._globs = globs
        self._encoding = encoding
        self._results = None if destination is None else str(destination.folder())

    @property
    def roots(self) -> tuple[str, ...]:
        """None: a result has its source's whole key."""
        return ()

    def version(self) -> str:
        """Return the version of the manifest, which holds the checksums of all the rest."""
        return self._document.version()

    def check(self) -> None:
        """Refuse a manifest that is incomplete, or names no data file that is there."""
        files = self._manifest.files
        if not files:
            why = "the inventory has no data files"
            raise self._document.unreadable(why)
        try:
            self._data(files[0])
        except ObjectMissing as exc:
            raise self._document.unreadable(
                f"a data file of the inventory is missing: {exc}"
            ) from exc

    def rows(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Yield one item for each object that is meant, and for each row that can't be read."""
        version = self.version()
        at = cursor or {"version": version, "file": 0, "row": 0, "at": None}
        if at["version"] != version:
            raise self._document.changed()
        number, place = at["row"], at["at"]
        for index in range(at["file"], len(self._manifest.files)):
            file = self._manifest.files[index]
            for entry, fault, after in self._entries(file, place):
                number += 1
                cursor = {"version": version, "file": index, "row": number, "at": after}
                item = self._item(entry, fault, number, cursor)
                if item is not None:
                    yield item
            place = None

    @cached_property
    def _manifest(self) -> InventoryManifest:
        data = self._document.beginning(MANIFEST_BYTES)
        self._check_checksum(data)
        try:
            return InventoryManifest.model_validate_json(data)
        except ValidationError as exc:
            error = exc.errors(include_url=False)[0]
            field = ".".join(map(str, error["loc"]))
            why = f"the inventory's {field or 'manifest'} won't do: {error['msg']}"
            if field == "fileFormat":
                why += "; have the inventory written as CSV or Parquet (ORC is not read)"
            raise self._document.unreadable(why) from exc

    def _check_checksum(self, data: bytes) -> None:
        """Compare with the file that AWS writes after the manifest, where it is kept beside it."""
        if not self._document.address.endswith("/" + NAME):
            return
        address = self._document.address.removesuffix(NAME) + CHECKSUM_NAME
        try:
            told = self._document.storage.read(address, max_bytes=CHECKSUM_BYTES).data
        except ObjectMissing:
            return
        found = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if told.strip().lower() != found.encode():
            why = f"its MD5 is {found}, but {CHECKSUM_NAME} beside it says otherwise"
            raise self._document.unreadable(f"{why}; copy the inventory anew")

    def _data(self, file: DataFile) -> Document:
        """Find a data file.

        Raises:
            SourceUnreadable: It can't be where the manifest says.
            ObjectMissing: It isn't.
        """
        bucket = self._manifest.destination_bucket.rpartition(":")[2]  # arn:aws:s3:::bucket
        try:
            address = str(s3_address(bucket, file.key))
        except AddressInvalid as exc:
            raise self._document.unreadable(f"the inventory's files: {exc}") from exc
        storage = self._document.storage
        return Document(storage, storage.stat(address), md5=file.md5.lower())

    def _entries(
        self,
        file: DataFile,
        place: Any,  # noqa: ANN401 - a part of the cursor
    ) -> Iterator[tuple[Entry | None, str | None, Any]]:
        """Yield a data file's rows, or what is wrong with one, and where reading goes on."""
        try:
            document = self._data(file)
        except ObjectMissing as exc:
            raise self._document.unreadable(
                f"a data file of the inventory is missing: {exc}"
            ) from exc
        if self._manifest.file_format == "CSV":
            return self._csv_entries(document, place or {"offset": 0, "line": 0})
        return self._parquet_entries(document, place or 0)

    def _csv_entries(
        self, document: Document, place: dict[str, int]
    ) -> Iterator[tuple[Entry | None, str | None, Any]]:
        names = [_canonical(name) for name in self._manifest.file_schema.split(",")]
        # One past the end, where a None is put, for what the inventory has not.
        pick = itemgetter(*(names.index(name) if name in names else len(names) for name in COLUMNS))
        with document.reading(place["offset"]) as stream:
            for record in records(stream, place):
                after = {"offset": record.last.end, "line": record.last.number}
                cells = record.cells
                if record.fault is None and len(cells) == len(names):
                    yield Entry._make(pick((*cells, None))), None, after
                else:
                    fault = record.fault or f"the row has {len(cells)} columns, not {len(names)}"
                    yield None, f"{document.address}: {fault}", after

    def _parquet_entries(
        self, document: Document, start: int
    ) -> Iterator[tuple[Entry | None, str | None, Any]]:
        for number, values in enumerate(column_values(document, _wanted, start), start=start + 1):
            yield Entry(*values), None, number

    def _item(
        self, entry: Entry | None, fault: str | None, line: int, cursor: Cursor
    ) -> Item | None:
        if entry is None or not entry.bucket or not entry.key:
            reason = fault or "the row of the inventory has no bucket or no key"
            return Rejected(line=line, field=None, reason=reason, text="", cursor=cursor)
        try:
            key, other = decoded(entry.key, self._encoding or self._usual)
            source = f"s3://{entry.bucket}/{key}"
            if why := _no_image(entry, key):
                return Skipped(line, source, why, cursor)
            if not self._globs.match(key) or (self._results and source.startswith(self._results)):
                return None
            if unstorable(key):
                raise AddressInvalid(f"the key {key!a} holds a NUL character; rename the object")
            alternative = None if other is None else str(s3_address(entry.bucket, other))
            return Row(line, object_address(source), cursor, _version(entry), alternative)
        except (AddressInvalid, UnicodeDecodeError) as exc:
            reason = f"source: {exc}"
            text = f"{entry.bucket},{entry.key}".replace("\0", "\ufffd")
            return Rejected(line=line, field="source", reason=reason, text=text, cursor=cursor)

    @cached_property
    def _usual(self) -> Encoding:
        """How AWS writes keys."""
        return Encoding.URL if self._manifest.file_format == "CSV" else Encoding.RAW


def _canonical(name: str) -> str:
    return name.strip().replace("_", "").lower()


def _wanted(names: Sequence[str]) -> list[str | None]:
    """Return which columns of a Parquet file are ours, in our order; None for one it has not."""
    found = {_canonical(name): name for name in names}
    return [found.get(name) for name in COLUMNS]


def _no_image(entry: Entry, key: str) -> str | None:
    """Say why an entry is no image, if its columns tell."""
    if entry.is_marker in ("true", True):
        return "a delete marker"
    if entry.is_latest in ("false", False):
        return "an older version"
    if key.endswith("/"):
        return "a folder marker"
    return "an empty object" if entry.size in ("0", 0) else None


def _version(entry: Entry) -> str | None:
    return entry.version if entry.version not in ("", "null") else None
