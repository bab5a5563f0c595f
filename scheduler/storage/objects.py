"""What stores answer, and the interface that each kind of store offers."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from scheduler.storage.address import Address


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A whole object.

    Attributes:
        data: Its bytes.
        etag: Changes whenever the bytes do.
        version: The version that was read, in a bucket that keeps versions.
        content_type: The media type it was stored with; None for files.
        metadata: As for `ObjectInfo`.
    """

    data: bytes
    etag: str
    version: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """What is known of an object without reading it.

    Attributes:
        address: Where it is.
        size: In bytes.
        etag: Changes whenever the bytes do; for a file its modification time and size.
        modified: When it was last written, in UTC.
        version: As for `Blob`; listings do not have it unless they are asked for it.
        content_type: As for `Blob`; listings do not have it.
        metadata: The user metadata, decoded; files and listings have none.
    """

    address: str
    size: int
    etag: str
    modified: datetime
    version: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A verified write.

    Attributes:
        etag: As a later `stat` will report it.
        checksum: ``crc32:`` and eight hexadecimal digits of the bytes that were given.
        size: In bytes.
    """

    etag: str
    checksum: str
    size: int


class Store(Protocol):
    """One kind of store; `Storage` describes each method."""

    def read(
        self, place: Address, *, max_bytes: int, version: str | None, etag: str | None
    ) -> Blob:
        """Return a whole object."""
        ...

    def stat(self, place: Address, *, version: str | None) -> ObjectInfo:
        """Describe an object."""
        ...

    def open(
        self, place: Address, *, start: int, version: str | None, etag: str | None
    ) -> BinaryIO:
        """Return a buffered stream of an object's bytes."""
        ...

    def write(
        self,
        place: Address,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        only_if_absent: bool,
    ) -> Stored:
        """Store bytes."""
        ...

    def write_file(
        self, place: Address, path: Path, *, content_type: str, metadata: Mapping[str, str]
    ) -> Stored:
        """Store a local file's bytes."""
        ...

    def copy(
        self,
        source: Address,
        place: Address,
        *,
        known: Stored,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> Stored:
        """Store what another object of this store holds, without its bytes passing through here."""
        ...

    def list(
        self, prefix: Address, *, after: Address | None, versioned: bool
    ) -> Iterator[ObjectInfo]:
        """Describe every object below a prefix."""
        ...

    def delete(self, place: Address) -> None:
        """Remove an object."""
        ...


def checksum_text(crc: int) -> str:
    """Spell a CRC-32 as `Stored.checksum` has it."""
    return f"crc32:{crc:08x}"


@dataclass(frozen=True, kw_only=True)
class Stream:
    """An object that is read once, from its beginning.

    Attributes:
        version: What its store says to tell these bytes from others of the same address, such as an
            ETag; empty where it says nothing.
        blocks: Its bytes; raises like `Storage.read`.
    """

    version: str
    blocks: Iterator[bytes]
