"""``file://``: objects are regular files; what S3 has beyond bytes and names is not kept.

Content types, metadata and versions of S3 objects have no counterpart here, and no sidecar file
stands in for them: a folder of results holds results only.
"""

import errno
import io
import os
import secrets
import stat
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from models.errors import EnlargerError
from scheduler.errors import (
    AddressInvalid,
    ObjectChanged,
    ObjectExists,
    ObjectMissing,
    ObjectTooLarge,
    StorageRefused,
)
from scheduler.storage.address import Address, file_address
from scheduler.storage.file_errors import file_errors
from scheduler.storage.objects import Blob, ObjectInfo, Stored, checksum_text
from scheduler.storage.walk import walk

BLOCK = 2**20


class FileStore:
    """The `Store` of local folders."""

    def read(
        self, place: Address, *, max_bytes: int, version: str | None, etag: str | None
    ) -> Blob:
        """Return a whole file."""
        with self._body(place, start=0, version=version, etag=etag) as body:
            if body.size > max_bytes:
                reason = f"{place}: {body.size} bytes are too many; the limit is {max_bytes}"
                raise ObjectTooLarge(reason)
            return Blob(data=body.readall(), etag=body.etag)

    def stat(self, place: Address, *, version: str | None) -> ObjectInfo:
        """Describe a file."""
        _refuse_version(place, version)
        with file_errors(place):
            # Not through Path, which enters each of a listing's names into Python's table of names.
            found = os.stat(place.key)  # noqa: PTH116
        _refuse_irregular(place, found)
        return _described(place, found)

    def open(
        self, place: Address, *, start: int, version: str | None, etag: str | None
    ) -> BinaryIO:
        """Return a buffered stream of a file's bytes."""
        body = self._body(place, start=start, version=version, etag=etag)
        return io.BufferedReader(body, BLOCK)

    def write(
        self,
        place: Address,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        only_if_absent: bool,
    ) -> Stored:
        """Write a file through a temporary one beside it."""
        return _replace(place, iter([data]), only_if_absent=only_if_absent)

    def write_file(
        self,
        place: Address,
        path: Path,
        *,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> Stored:
        """Copy a file through a temporary one beside its destination."""
        with path.open("rb") as source:
            return _replace(place, iter(lambda: source.read(BLOCK), b""), only_if_absent=False)

    def copy(
        self,
        source: Address,
        place: Address,
        *,
        known: Stored,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> Stored:
        """Copy a file through a temporary one beside its destination."""
        with self._body(source, start=0, version=None, etag=known.etag) as body:
            return _replace(place, _unchanged(source, body, known), only_if_absent=False)

    def list(
        self, prefix: Address, *, after: Address | None, versioned: bool
    ) -> Iterator[ObjectInfo]:
        """Walk a folder; its files have no versions."""
        root = prefix.folder()
        with file_errors(root):
            os.scandir(root.key).close()
        start = b"" if after is None else os.fsencode(after.relative_to(root) or "")
        for name in walk(root.key, start, os.path.realpath(root.key)):
            place = Address(scheme="file", bucket="", key=root.key + os.fsdecode(name))
            with suppress(ObjectMissing):  # Deleted since its folder was read.
                yield self.stat(place, version=None)

    def delete(self, place: Address) -> None:
        """Remove a file."""
        with suppress(ObjectMissing), file_errors(place):
            Path(place.key).unlink()

    def _body(
        self, place: Address, *, start: int, version: str | None, etag: str | None
    ) -> "FileBody":
        _refuse_version(place, version)
        with file_errors(place):
            # Without O_NONBLOCK the opening of a named pipe waits for its writer, for ever.
            descriptor = os.open(place.key, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        body = FileBody(place, descriptor)
        try:
            body.begin(start, etag)
        except EnlargerError:
            body.close()
            raise
        return body


class FileBody(io.RawIOBase):
    """An open file that notices when it is changed while it is read."""

    def __init__(self, place: Address, descriptor: int) -> None:
        super().__init__()
        self._place = place
        self._descriptor = descriptor
        found = os.fstat(descriptor)
        self._mode = found
        self.size = found.st_size
        self.etag = _etag(found)

    def begin(self, start: int, etag: str | None) -> None:
        """Check what was opened and move to the first byte.

        Raises:
            ObjectMissing: It is a folder, a pipe or a device.
            ObjectChanged: Its ETag is not `etag`.
        """
        _refuse_irregular(self._place, self._mode)
        if etag not in (None, self.etag):
            raise _changed(self._place)
        os.lseek(self._descriptor, start, os.SEEK_SET)

    def readable(self) -> bool:
        """Whether bytes can be read: always."""
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill `buffer` as far as the file goes."""
        with file_errors(self._place):
            count = os.readv(self._descriptor, [buffer])
        if count == 0 and _etag(os.fstat(self._descriptor)) != self.etag:
            raise _changed(self._place)
        return count

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def confined(place: Address, root: Address) -> Address:
    """Return `place` with every link resolved, once it is sure to lie below `root`.

    Raises:
        AddressInvalid: It lies elsewhere, by its name or through a symbolic link.
    """
    folder = os.path.realpath(root.key)
    parent = os.path.realpath(place.parent().key)
    if os.path.commonpath([folder, parent]) != folder or place.relative_to(root) is None:
        reason = f"{place} lies outside of {root}; results must stay below the destination"
        raise AddressInvalid(reason, field="destination")
    return file_address(f"{parent}/{place.name}")


def is_same_file(one: Address, other: Address) -> bool:
    """Whether two paths lead to one existing file, through whatever links."""
    try:
        return os.path.samefile(one.key, other.key)  # noqa: PTH121 - of two strings
    except OSError:
        return False  # One of them does not exist yet.


def remove_if_empty(folder: Address) -> None:
    """Remove a folder that holds nothing but such folders; S3 has none, so nobody relies on one."""
    for path, _, _ in os.walk(folder.key, topdown=False):
        with suppress(OSError):
            Path(path).rmdir()


def _replace(place: Address, blocks: Iterator[bytes], *, only_if_absent: bool) -> Stored:
    if place.is_folder:
        reason = f"{place}: this names a folder; a result needs a file name"
        raise AddressInvalid(reason)
    folder = Path(place.parent().key)
    # A name of its own length: the result's may already be as long as the file system allows.
    draft = folder / f".enlarger-{secrets.token_hex(8)}.part"
    try:
        with _write_errors(place):
            folder.mkdir(parents=True, exist_ok=True)
            crc, found = _write_draft(draft, blocks)
            _publish(draft, place, only_if_absent=only_if_absent)
            _sync_folder(folder)
    finally:
        with suppress(OSError):
            draft.unlink()
    return Stored(etag=_etag(found), checksum=checksum_text(crc), size=found.st_size)


def _unchanged(source: Address, body: FileBody, known: Stored) -> Iterator[bytes]:
    """Yield a file's blocks; a wrong sum of them is noticed before the copy gets its name."""
    crc = 0
    while block := body.read(BLOCK):
        crc = zlib.crc32(block, crc)
        yield block
    if checksum_text(crc) != known.checksum:
        raise _changed(source)


@contextmanager
def _write_errors(place: Address) -> Iterator[None]:
    """Like `file_errors`, where a missing or wrong parent has another meaning."""
    try:
        with file_errors(place):
            yield
    except ObjectMissing as exc:
        reason = f"{place}: a folder has the file's name, or a file has a folder's; rename one"
        raise AddressInvalid(reason) from exc


def _write_draft(draft: Path, blocks: Iterator[bytes]) -> tuple[int, os.stat_result]:
    crc = 0
    with draft.open("xb") as file:
        for block in blocks:
            file.write(block)
            crc = zlib.crc32(block, crc)
        file.flush()
        os.fsync(file.fileno())
        return crc, os.fstat(file.fileno())


def _publish(draft: Path, place: Address, *, only_if_absent: bool) -> None:
    if not only_if_absent:
        draft.replace(place.key)
        return
    try:
        os.link(draft, place.key)  # Unlike a rename, this fails if the name is taken.
    except FileExistsError as exc:
        reason = f"{place}: something is stored there already, and it was not to be replaced"
        raise ObjectExists(reason) from exc
    except OSError as exc:
        if exc.errno not in (errno.EPERM, errno.ENOTSUP):
            raise
        reason = f"{place}: this file system has no hard links, which 'only if absent' needs"
        raise StorageRefused(reason) from exc


def _sync_folder(folder: Path) -> None:
    """Make the new name survive a power cut, as `fsync` did for the bytes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _described(place: Address, found: os.stat_result) -> ObjectInfo:
    return ObjectInfo(
        address=str(place),
        size=found.st_size,
        etag=_etag(found),
        modified=datetime.fromtimestamp(found.st_mtime, UTC),
    )


def _etag(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}"


def _changed(place: Address) -> ObjectChanged:
    return ObjectChanged(f"{place}: the file was changed since it was first read; submit it again")


def _refuse_version(place: Address, version: str | None) -> None:
    if version is not None:
        reason = f"{place}: files keep no versions, so {version!r} can't be read; leave it out"
        raise AddressInvalid(reason)


def _refuse_irregular(place: Address, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ObjectMissing(f"{place}: this is a folder or a device, no file; name a file")
