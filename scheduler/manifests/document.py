"""One stored manifest: its bytes, uncompressed, from any place on, and always the same ones."""

import bz2
import gzip
import hashlib
import io
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any, BinaryIO, cast

from scheduler.errors import ObjectChanged, SourceUnreadable
from scheduler.manifests.verified import VerifiedStream
from scheduler.storage import Address, ObjectInfo, Storage, parse_address

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdError, ZstdFile
else:
    from backports.zstd import ZstdError, ZstdFile

BLOCK = 2**20
COMPRESSIONS: Mapping[bytes, Callable[[BinaryIO], object]] = {
    b"\x1f\x8b": lambda stream: gzip.GzipFile(fileobj=stream, mode="rb"),
    b"BZh": bz2.BZ2File,
    b"\x28\xb5\x2f\xfd": ZstdFile,
}
"""How to read what begins with these bytes: gzip, bzip2, zstd (RFC 8878, section 3.1.1)."""
LONGEST_MARK = 4
DAMAGE = (EOFError, gzip.BadGzipFile, zlib.error, ZstdError)


class Document:
    """One manifest.

    Args:
        storage: Where it is read from.
        info: The manifest itself; other bytes than these are never read.
        md5: What the MD5 of the stored bytes is said to be, in lower-case hexadecimal. Whoever
            reads them to their end gets an error instead of the end if it is another.
    """

    def __init__(self, storage: Storage, info: ObjectInfo, *, md5: str | None = None) -> None:
        self.storage = storage
        self.info = info
        self._md5 = md5

    @property
    def address(self) -> str:
        """Where it is."""
        return self.info.address

    @cached_property
    def folder(self) -> Address:
        """The folder that holds it."""
        return parse_address(self.info.address).parent()

    @property
    def roots(self) -> tuple[str, ...]:
        """The folder that holds a local manifest; a manifest on S3 has none."""
        return (str(self.folder),) if self.folder.scheme == "file" else ()

    def version(self) -> str:
        """Return the ETag of a manifest on S3, the SHA-256 of a local one."""
        if self.info.address.startswith("s3://"):
            return f"etag:{self.info.etag}"
        return self._digest

    @contextmanager
    def reading(self, start: int = 0) -> Iterator[BinaryIO]:
        """Open the manifest at a byte of its uncompressed content.

        Raises:
            SourceUnreadable: It was changed meanwhile, or its compression is damaged.
            StorageUnavailable: The store does not answer.
        """
        if self._decompressor is None and self._md5 is None:
            with self._faults(), self._opened(start) as stream:
                yield stream
            return
        with self.stored() as stream:
            opened = stream if self._decompressor is None else self._decompressor(stream)
            # Lines are taken from a buffer in C, whoever decompresses.
            with cast("BinaryIO", io.BufferedReader(cast("Any", opened))) as uncompressed:
                _skip(uncompressed, start)  # There is no other way to get there.
                yield uncompressed

    def beginning(self, size: int) -> bytes:
        """Return the first bytes of the uncompressed content."""
        with self.reading() as stream:
            return stream.read(size)

    @contextmanager
    def stored(self) -> Iterator[BinaryIO]:
        """Open the stored bytes as they are; raises as `reading` does."""
        with self._faults(), self._opened() as stream:
            if self._md5 is None:
                yield stream
                return
            with io.BufferedReader(VerifiedStream(stream, self._md5, self._broken), BLOCK) as known:
                yield known

    def _opened(self, start: int = 0) -> BinaryIO:
        return self.storage.open(self.info.address, start=start, etag=self.info.etag)

    def _broken(self, md5: str) -> SourceUnreadable:
        return self.unreadable(
            f"its MD5 is {md5}, not {self._md5} as the inventory says; copy the inventory anew"
        )

    def unreadable(self, why: str) -> SourceUnreadable:
        """Return the error for a document that is not what it should be."""
        return SourceUnreadable(f"source: {self.info.address}: {why}", field="source")

    def changed(self) -> SourceUnreadable:
        """Return the error for a document whose bytes are others than those of its batch."""
        reason = (
            f"source: {self.info.address} was changed while its batch was being read; "
            "submit it again as a new batch"
        )
        return SourceUnreadable(reason, field="source")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except ObjectChanged as exc:
            raise self.changed() from exc
        except DAMAGE as exc:
            raise self._damaged(exc) from exc
        except OSError as exc:
            if exc.errno is not None or self._decompressor is not bz2.BZ2File:
                raise
            raise self._damaged(exc) from exc  # All that bz2 says of bad data.

    def _damaged(self, exc: Exception) -> SourceUnreadable:
        return self.unreadable(f"its compression is damaged ({exc}); write it anew")

    @cached_property
    def _decompressor(self) -> Callable[[BinaryIO], object] | None:
        with self._opened() as stream:
            mark = stream.read(LONGEST_MARK)
        found = [opener for magic, opener in COMPRESSIONS.items() if mark.startswith(magic)]
        return found[0] if found else None

    @cached_property
    def _digest(self) -> str:
        found = hashlib.sha256()
        with self._faults(), self._opened() as stream:
            while block := stream.read(BLOCK):
                found.update(block)
        return f"sha256:{found.hexdigest()}"


def _skip(stream: BinaryIO, size: int) -> None:
    """Read over the first `size` bytes."""
    while size > 0 and (block := stream.read(min(size, BLOCK))):
        size -= len(block)
