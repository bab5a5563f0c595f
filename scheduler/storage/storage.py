"""One interface over every kind of store; the store is chosen by the address."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from models.errors import RequestError
from scheduler.errors import (
    DestinationUnwritable,
    ObjectMissing,
    ObjectTooLarge,
    StorageRefused,
)
from scheduler.settings import MEBIBYTE
from scheduler.storage import fence
from scheduler.storage.address import Address, parse_address
from scheduler.storage.files import FileStore, confined, is_same_file, remove_if_empty
from scheduler.storage.objects import Blob, ObjectInfo, Store, Stored, Stream
from scheduler.storage.web import WebStore

if TYPE_CHECKING:
    from scheduler.settings import Settings
    from scheduler.storage.s3 import S3Store

PROBE = ".enlarger-write-check"
"""One fixed name: where credentials may write but not delete, a single probe is left, not many."""


class Storage:
    """Reads and writes objects by address; one instance serves all threads of a process."""

    def __init__(self, stores: "Stores", *, places: Sequence[str] | None = None) -> None:
        """Prepare.

        Args:
            stores: One of each kind.
            places: The only addresses that may be named, and all below them; None for any.
        """
        self._stores = stores
        self._places = places

    def __repr__(self) -> str:
        return f"Storage({self._stores!r})"

    def read(
        self, address: str, *, max_bytes: int, version: str | None = None, etag: str | None = None
    ) -> Blob:
        """Return a whole object.

        Args:
            address: Which object.
            max_bytes: Refuse larger ones, before reading them.
            version: Read this version instead of the newest.
            etag: Read only the bytes that had this ETag.

        Raises:
            ObjectMissing: Nothing is there.
            ObjectTooLarge: It has more than `max_bytes`.
            ObjectChanged: Its ETag is another.
            AccessDenied: The credentials may not read it.
            StorageRefused: It is archived, or the store cannot do this.
            StorageUnavailable: The store does not answer, after `storage_attempts` tries.
        """
        place = parse_address(address)
        return self._store(place).read(place, max_bytes=max_bytes, version=version, etag=etag)

    def stat(self, address: str, *, version: str | None = None) -> ObjectInfo:
        """Describe an object; raises like `read`."""
        place = parse_address(address)
        return self._store(place).stat(place, version=version)

    def open(
        self, address: str, *, start: int = 0, version: str | None = None, etag: str | None = None
    ) -> BinaryIO:
        """Return a stream of an object's bytes from byte `start` on, to be used in a `with`.

        A connection that breaks is re-opened where it broke, for the same version of the object;
        reading raises like `read` does. At the end of the object the stream is simply empty.
        """
        place = parse_address(address)
        return self._store(place).open(place, start=start, version=version, etag=etag)

    @contextmanager
    def stream(self, address: str, *, max_bytes: int, timeout_s: float) -> Iterator[Stream]:
        """Open an object, however large, to be read once; of a web address nothing is read before.

        Args:
            address: Which object.
            max_bytes: Refuse larger ones, before reading them where their store tells.
            timeout_s: The longest that all of it may take, of a web address.

        Raises:
            EnlargerError: As `read`.
        """
        place = parse_address(address)
        store = self._store(place)
        if isinstance(store, WebStore):
            with store.stream(str(place), max_bytes=max_bytes, timeout_s=timeout_s) as stream:
                yield stream
            return
        found = store.stat(place, version=None)
        if found.size > max_bytes:
            raise ObjectTooLarge(f"{address}: has more than {max_bytes:,} bytes, the limit")
        with store.open(place, start=0, version=None, etag=found.etag) as body:
            yield Stream(version=found.etag, blocks=iter(partial(body.read, MEBIBYTE), b""))

    def write(
        self,
        address: str,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        only_if_absent: bool = False,
        within: str | None = None,
    ) -> Stored:
        """Store bytes whole or not at all, and verify what was stored.

        Args:
            address: Where; missing folders are made on ``file://``.
            data: What.
            content_type: The media type; files do not keep it.
            metadata: User metadata with lower-case ASCII names; files do not keep it.
            only_if_absent: Fail if something is there already.
            within: On ``file://`` the folder that the file may not leave, not even by a
                symbolic link. ``s3://`` has no links and no parents, so nothing is checked there.

        Raises:
            ObjectExists: `only_if_absent`, and something is there.
            AddressInvalid: The file would lie outside of `within`.
            AccessDenied: The credentials may not write here.
            StorageRefused: The store cannot do this.
            StorageUnavailable: The store does not answer, is full, or stored other bytes.
        """
        place = _held(address, within)
        return self._store(place).write(
            place,
            data,
            content_type=content_type,
            metadata=metadata or {},
            only_if_absent=only_if_absent,
        )

    def write_file(
        self,
        address: str,
        path: Path,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        within: str | None = None,
    ) -> Stored:
        """Store a local file, however large, in constant memory; otherwise like `write`."""
        place = _held(address, within)
        return self._store(place).write_file(
            place, path, content_type=content_type, metadata=metadata or {}
        )

    def copy(
        self,
        source: str,
        address: str,
        *,
        known: Stored,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        within: str | None = None,
    ) -> Stored:
        """Store a copy of an object that was written before, made by the store itself.

        Args:
            source: The object.
            address: Where its copy goes, in a store of the same kind.
            known: What its own write returned; anything else there now is not copied.
            content_type: Of the copy, as for `write`.
            metadata: Of the copy, as for `write`.
            within: As for `write`.

        Raises:
            ObjectMissing: The object is gone.
            ObjectChanged: It is another one now.
            AddressInvalid: The copy would lie outside of `within`.
            AccessDenied: The credentials may not read there, or not write here.
            StorageRefused: The stores are of two kinds, or this one cannot do it: S3 copies no more
                than 5 GB at once.
            StorageUnavailable: The store does not answer, or is full.
        """
        origin, place = parse_address(source), _held(address, within)
        store = self._store(place)
        if self._store(origin) is not store:
            raise StorageRefused(f"{place}: no store copies from {origin}; write the bytes instead")
        return store.copy(
            origin, place, known=known, content_type=content_type, metadata=metadata or {}
        )

    def list(
        self, prefix: str, *, after: str | None = None, versioned: bool = False
    ) -> Iterator[ObjectInfo]:
        """Describe every object whose address begins with `prefix`, in a stable total order.

        The order is that of the names' bytes, the same for a folder as for its copy on S3. A
        folder is walked to its depths; names that begin with a dot are skipped, and so are links
        to folders and links that lead out of it.

        Args:
            prefix: An S3 prefix, taken literally, or a folder.
            after: The address of the last object that was seen; the listing goes on behind it.
            versioned: Tell the versions' ids, where a bucket keeps versions.

        Raises:
            ObjectMissing: There is no such bucket or folder.
            AccessDenied: The credentials may not list it.
            StorageUnavailable: The store does not answer.
        """
        place = parse_address(prefix)
        last = None if after is None else parse_address(after)
        return self._store(place).list(place, after=last, versioned=versioned)

    def delete(self, address: str) -> None:
        """Remove an object; that it is not there is no error."""
        place = parse_address(address)
        self._store(place).delete(place)

    def delete_below(self, folder: str) -> None:
        """Remove everything below a folder, and the folder; that it is not there is no error.

        For folders of our own making: what begins with a dot is left, as `list` skips it.
        """
        place = parse_address(folder)
        with suppress(ObjectMissing):
            for found in self._store(place).list(place, after=None, versioned=False):
                self.delete(found.address)
        if place.scheme == "file":
            remove_if_empty(place)

    def presigned(
        self, address: str, *, content_type: str, disposition: str, lifetime_s: int
    ) -> str | None:
        """Return a URL under which anybody may read an object for a while.

        Args:
            address: Which object; whether it is there is not asked.
            content_type: The media type that the store is to answer with.
            disposition: The Content-Disposition that it is to answer with.
            lifetime_s: Seconds from now.

        Returns:
            None on ``file://``, where nobody else serves it.
        """
        place = parse_address(address)
        if place.scheme != "s3":
            return None
        return self._stores.s3().presigned(
            place, content_type=content_type, disposition=disposition, lifetime_s=lifetime_s
        )

    def make_bucket(self, name: str) -> bool:
        """Make a bucket of S3's; tell whether it was not there before.

        Raises:
            AddressInvalid: There can be no such bucket.
            AccessDenied: It belongs to others, or the credentials may not make one.
            StorageUnavailable: The store does not answer.
        """
        return self._stores.s3().make_bucket(parse_address(f"s3://{name}/"))

    def is_same_object(self, one: str, other: str) -> bool:
        """Whether two addresses name one object, also through links on ``file://``."""
        first, second = parse_address(one), parse_address(other)
        if first == second:
            return True
        return first.scheme == second.scheme == "file" and is_same_file(first, second)

    def check_writable(self, prefix: str) -> None:
        """Write a small object below `prefix` and delete it again.

        Raises:
            DestinationUnwritable: It was refused; the message says why and what to do.
            StorageUnavailable: The store does not answer, which says nothing about permissions.
        """
        probe = parse_address(prefix).child(PROBE)
        store = self._store(probe)
        try:
            store.write(
                probe, b"enlarger\n", content_type="text/plain", metadata={}, only_if_absent=False
            )
        except RequestError as exc:
            reason = (
                f"destination: results can't be stored below {prefix} ({exc}); "
                "name another destination or allow writing there"
            )
            raise DestinationUnwritable(reason, field="destination") from exc
        try:
            store.delete(probe)
        except RequestError:
            return  # Write-only credentials are enough for results; the probe stays.

    def check_visible(self, prefix: str) -> None:
        """Ask whether an object is below `prefix`, whatever the answer.

        Raises:
            DestinationUnwritable: It was refused; the message says why and what to do.
            StorageUnavailable: The store does not answer.
        """
        probe = parse_address(prefix).child(PROBE)
        try:
            self._store(probe).stat(probe, version=None)
        except ObjectMissing:
            return
        except RequestError as exc:
            reason = (
                f"destination: what exists below {prefix} can't be seen ({exc}); allow listing and "
                "reading there, or leave out --skip-existing"
            )
            raise DestinationUnwritable(reason, field="destination") from exc

    def fenced(self, places: Sequence[str]) -> "Storage":
        """Return a storage that refuses what lies below none of the places (PlaceForbidden)."""
        return Storage(self._stores, places=places)

    def _store(self, place: Address) -> Store:
        if self._places is not None:
            fence.check(str(place), self._places)
        if place.scheme == "file":
            return self._stores.files
        if place.is_web:
            return self._stores.web
        return self._stores.s3()


class Stores:
    """One store of each kind, shared by all who read and write; S3's client is made when needed."""

    def __init__(self, settings: "Settings") -> None:
        self.files = FileStore()
        self.web = WebStore(settings)
        self._settings = settings
        self._s3: S3Store | None = None
        self._making = threading.Lock()

    def __repr__(self) -> str:
        return f"Stores(s3_endpoint_url={self._settings.s3_endpoint_url!r})"

    def s3(self) -> "S3Store":
        """Return the store of S3."""
        with self._making:
            if self._s3 is None:
                from scheduler.storage.s3 import S3Store  # boto3: only where S3 is used

                self._s3 = S3Store(self._settings)
            return self._s3


def open_storage(settings: "Settings") -> Storage:
    """Return the storage that `settings` describe; nothing is connected before the first call."""
    return Storage(Stores(settings))


def _held(address: str, within: str | None) -> Address:
    place = parse_address(address)
    if within is None or place.scheme == "s3":
        return place
    return confined(place, parse_address(within))
