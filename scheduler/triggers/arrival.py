"""An object that arrived in a bucket, whoever tells of it: a queue, a receiver or a listing."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from scheduler.storage.address import Address


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One version of an object.

    Attributes:
        bucket: The bucket's name.
        key: The literal key.
        version: The version's id, in a bucket that keeps versions.
        etag: Without its quotes.
        size: In bytes; None where nobody said.
        at: When it was written, in UTC.
        is_result: Whether its metadata says that Enlarger made it.
    """

    bucket: str
    key: str
    version: str | None
    etag: str
    size: int | None
    at: datetime
    is_result: bool = False

    @property
    def address(self) -> str:
        """The object's address, without its version."""
        return str(Address(scheme="s3", bucket=self.bucket, key=self.key))

    @property
    def identity(self) -> UUID:
        """128 bits that stand for bucket, key and version id, or ETag where there is no version.

        Events that are repeated, and listings, have the same for the same bytes.
        """
        kind, value = ("etag", self.etag) if self.version is None else ("version", self.version)
        told = json.dumps([self.bucket, self.key, kind, value])
        return UUID(bytes=hashlib.sha256(told.encode()).digest()[:16])
