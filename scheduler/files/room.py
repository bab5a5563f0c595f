"""Where the files of requests lie, and their public addresses.

{ENLARGER_FILES}blobs/ab/abcdef…      bytes that were handed in, by their SHA-256
{ENLARGER_FILES}parts/{file}/{n}      parts of an upload that is not complete
{ENLARGER_FILES}results/{random}/…    results of requests
"""

import hashlib
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote
from uuid import UUID

from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from scheduler.errors import (
    FileMissing,
    FileRefused,
    ObjectMissing,
    ObjectTooLarge,
    SettingsInvalid,
    StorageUnavailable,
)
from scheduler.files.names import UNKNOWN, safe_name, safe_type
from scheduler.files.signing import Signer
from scheduler.ledger import files
from scheduler.ledger.files import HostedFile
from scheduler.ledger.session import Ledger
from scheduler.settings import MEBIBYTE, Settings
from scheduler.storage import Address, Storage, parse_address

BLOCK = MEBIBYTE
PART_BYTES = 10 * MEBIBYTE
"""Most of one part; both clients send parts of exactly this size."""
UPLOAD_S = 24 * 3600.0
"""How long an announced upload may take."""
TRIES = 3
NO_ROOM = (
    "ENLARGER_FILES is not set; set it to where files of requests are to lie, an s3:// prefix or a "
    "file:// folder of their own that every process reaches"
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of an upload, as the client lists it in the end."""

    number: int
    etag: str


def check(settings: Settings) -> Address:
    """Return the folder for files of requests.

    Raises:
        SettingsInvalid: None is set, or no key.
    """
    if settings.files is None:
        raise SettingsInvalid(NO_ROOM, field="files")
    Signer.of(settings)
    return parse_address(settings.files).folder()


class FileRoom:
    """Takes files in and gives out their addresses; serves all threads of a process."""

    def __init__(self, ledger: Ledger, storage: Storage, settings: Settings) -> None:
        """Prepare; nothing is connected.

        Raises:
            SettingsInvalid: There is no place for files, or no key.
        """
        self.root = check(settings)
        self.signer = Signer.of(settings)
        self._ledger = ledger
        self._storage = storage
        self._settings = settings

    def blob(self, digest: str) -> str:
        """Return where bytes with this digest lie."""
        return str(self.root.child(f"blobs/{digest[:2]}/{digest}"))

    def results(self) -> str:
        """Return the folder that holds the results of all requests."""
        return str(self.root.child("results").folder())

    def result_folder(self) -> str:
        """Return a new folder for one request's results; nobody can guess its name."""
        return str(self.root.child(f"results/{secrets.token_hex(16)}").folder())

    def path(self, file: HostedFile) -> str:
        """Return the path below ``/cdn`` under which anybody who has it may read a file."""
        mark = self.signer.mark("read", str(file.id))
        return f"/files/{file.id}/{mark}/{quote(file.name, safe='')}"

    def upload_mark(self, file_id: UUID) -> str:
        """Return what lets a client write a file that was announced."""
        return self.signer.mark("write", str(file_id))

    def announce(
        self, *, owner: str, name: str, content_type: str | None, lifetime_s: float | None = None
    ) -> HostedFile:
        """Make room for a file whose bytes are still to come.

        Args:
            owner: Who hands it in.
            name: As the client sent it.
            content_type: As the client sent it.
            lifetime_s: How long it stays; None for `keep_files_s`.
        """
        file = self._file(owner, name, content_type, lifetime_s)
        with self._ledger.begin() as session:
            files.add(session, file)
        return file

    def _file(
        self, owner: str, name: str, content_type: str | None, lifetime_s: float | None = None
    ) -> HostedFile:
        plain_type = safe_type(content_type)
        return HostedFile(
            id=uuid7(),
            owner=owner,
            name=safe_name(name, content_type=plain_type),
            content_type=plain_type,
            # By this host's clock: next to a lifetime, the difference to the ledger's is nothing.
            expires_at=self.expiry(datetime.now(UTC), lifetime_s),
        )

    def expiry(self, now: datetime, lifetime_s: float | None) -> datetime | None:
        """Return when something goes that is made now."""
        seconds = self._settings.keep_files_s if lifetime_s is None else lifetime_s
        return None if seconds is None else now + timedelta(seconds=seconds)

    def readable(self, file_id: UUID, mark: str) -> HostedFile:
        """Return the file of a public address.

        Raises:
            AddressSecretWrong: The address is not one that we gave out.
            FileMissing: Its bytes are not there yet, or its time is over.
        """
        self.signer.check(mark, "read", str(file_id))
        file = self._get(file_id)
        if file.digest is None:
            reason = "nothing was uploaded here yet; send the file first"
            raise FileMissing(reason)
        return file

    def writable(self, file_id: UUID, mark: str) -> HostedFile:
        """Return the file of an address for uploading.

        Raises:
            AddressSecretWrong: The address is not one that we gave out.
            FileMissing: Its time is over.
        """
        self.signer.check(mark, "write", str(file_id))
        return self._get(file_id)

    def _get(self, file_id: UUID) -> HostedFile:
        with self._ledger.begin(durable=False) as session:
            return files.get(session, file_id)

    def take(self, data: bytes, *, owner: str, name: str, content_type: str) -> HostedFile:
        """Store a file that is in memory, bytes first: no more than one transaction.

        Raises:
            StorageUnavailable: The store does not answer.
        """
        file = self._file(owner, name, content_type)

        def added(session: Session, digest: str, size: int) -> HostedFile:
            whole = replace(file, digest=digest, size=size)
            files.add(session, whole)
            return whole

        with self.draft() as draft:
            draft.write(data)
            return self._store(draft, added)

    @contextmanager
    def draft(self) -> Iterator["Draft"]:
        """Yield something to write a file's bytes to as they come; they wait on the local disk."""
        with tempfile.NamedTemporaryFile(prefix="enlarger-upload-") as file:
            yield Draft(file=file, max_bytes=self._settings.max_upload_bytes)  # type: ignore[arg-type]

    def keep(self, file: HostedFile, draft: "Draft") -> HostedFile:
        """Store a draft as a file's bytes. The same bytes again are no error.

        Raises:
            FileRefused: The file has other bytes already.
            StorageUnavailable: The store does not answer.
        """

        def completed(session: Session, digest: str, size: int) -> HostedFile:
            stored = files.complete(session, file.id, digest=digest, size=size)
            found = files.get(session, file.id)
            if not stored:
                reason = "this address has its file already; ask for another one"
                raise FileRefused(reason)
            return found

        return self._store(draft, completed)

    def _store(
        self, draft: "Draft", record: Callable[[Session, str, int], HostedFile]
    ) -> HostedFile:
        """Store a draft's bytes, and record them under their digest's lock."""
        digest, path = draft.finish()
        blob = self.blob(digest)
        for _ in range(TRIES):
            if not self._is_stored(blob):
                self._storage.write_file(blob, path, content_type=UNKNOWN)
            with self._ledger.begin() as session:
                files.lock(session, digest)
                if self._is_stored(blob):
                    return record(session, digest, draft.size)
            # A purge was quicker: they belonged to nobody.
        raise StorageUnavailable(f"{blob}: is deleted as often as it is written")

    def _is_stored(self, blob: str) -> bool:
        try:
            self._storage.stat(blob)
        except ObjectMissing:
            return False
        return True

    def keep_part(self, file: HostedFile, number: int, data: bytes) -> str:
        """Store one part of an upload and return its ETag; the same part again replaces it.

        Raises:
            FileRefused: The number is out of range.
            ObjectTooLarge: The part is, or its number says that the whole would be.
        """
        most = -(-self._settings.max_upload_bytes // PART_BYTES)
        if number < 1:
            raise FileRefused(f"part {number}: parts are counted from 1")
        if number > most:
            limit = self._settings.max_upload_bytes
            reason = f"part {number}: {most} parts make {limit:,} bytes, the limit"
            raise ObjectTooLarge(reason)
        if len(data) > PART_BYTES:
            raise ObjectTooLarge(f"part {number}: has more than {PART_BYTES:,} bytes, the limit")
        self._storage.write(self.part(file.id, number), data, content_type=UNKNOWN)
        return hashlib.sha256(data).hexdigest()

    def part(self, file_id: UUID, number: int) -> str:
        """Return where a part of an upload lies until it is complete."""
        return f"{self.parts(file_id)}{number:05}"

    def parts(self, file_id: UUID) -> str:
        """Return the folder of an upload's parts."""
        return str(self.root.child(f"parts/{file_id}").folder())

    def join(self, file: HostedFile, parts: Sequence[Part]) -> HostedFile:
        """Make a file of its parts, in the order of their numbers, and delete them.

        Raises:
            FileRefused: No part is listed, one is listed twice, is not there, or has another ETag.
        """
        ordered = sorted(parts, key=lambda part: part.number)
        if not ordered or len({part.number for part in ordered}) < len(ordered):
            reason = "parts: list every part once, with the ETag of its answer"
            raise FileRefused(reason)
        if file.digest is not None:
            return file  # the answer to the first completion was lost
        with self.draft() as draft:
            for part in ordered:
                draft.write(self._read_part(file, part))
            kept = self.keep(file, draft)
        for part in ordered:
            self._storage.delete(self.part(file.id, part.number))
        return kept

    def _read_part(self, file: HostedFile, part: Part) -> bytes:
        try:
            data = self._storage.read(self.part(file.id, part.number), max_bytes=PART_BYTES).data
        except ObjectMissing as exc:
            raise FileRefused(f"parts: part {part.number} was not uploaded") from exc
        if hashlib.sha256(data).hexdigest() != part.etag.strip('"'):
            raise FileRefused(f"parts: part {part.number} has another ETag than the one listed")
        return data


class Draft:
    """A file on its way in: on the local disk, with its digest so far, never over its limit."""

    def __init__(self, *, file: BinaryIO, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            ObjectTooLarge: There are more than the limit now.
            StorageUnavailable: The local disk is full.
        """
        self.size += len(data)
        if self.size > self._max_bytes:
            reason = f"the file has more than {self._max_bytes:,} bytes, the limit"
            raise ObjectTooLarge(reason)
        self._digest.update(data)
        with self._disk_errors():
            self._file.write(data)

    def finish(self) -> tuple[str, Path]:
        """Return the digest and where the bytes are.

        Raises:
            FileRefused: There are none.
        """
        if self.size == 0:
            reason = "the file is empty; send its bytes as the request's body"
            raise FileRefused(reason)
        with self._disk_errors():
            self._file.flush()
        return self._digest.hexdigest(), Path(self._file.name)

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            reason = f"uploads wait in {tempfile.gettempdir()} (TMPDIR), and {exc.strerror}"
            raise StorageUnavailable(reason) from exc
