"""Deletes files of requests whose time is over, and forgets what was not to be kept.

Bytes go in the transaction that deletes their row: if the store does not answer, both stay and the
next step tries again.
"""

import structlog

from models.errors import RequestError
from scheduler.errors import StorageUnavailable
from scheduler.files.room import UPLOAD_S, FileRoom
from scheduler.ledger import files
from scheduler.ledger.files import Leftover
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage

log = structlog.get_logger()

AT_ONCE = 50
"""Few, as a transaction waits for the store meanwhile."""
TRANSIENT_S = 3600.0
"""How long a result that is not to be kept waits for whoever asked for it."""


class Purger:
    """The scheduler's duty to delete files."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        """Prepare; `settings` say where files are.

        Raises:
            SettingsInvalid: They don't.
        """
        self._ledger = ledger
        self._storage: Storage = open_storage(settings)
        self._room = FileRoom(ledger, self._storage, settings)

    def step(self) -> bool:
        """Delete some of what is due; tell whether there may be more.

        Raises:
            StorageUnavailable: The store does not answer, or refuses; what it did not confirm stays
                due.
        """
        try:
            steps = (self._expire_files, self._abandon, self._forget, self._delete_results)
            done = [step() for step in steps]
        except RequestError as exc:
            # Of credentials that may not delete, operators hear in the log, again and again.
            raise StorageUnavailable(f"files: can't be deleted: {exc}") from exc
        return max(done) == AT_ONCE

    def _expire_files(self) -> int:
        with self._ledger.begin() as session:
            gone = files.expire(session, limit=AT_ONCE)
            for digest in sorted({digest for _, digest in gone if digest is not None}):
                files.lock(session, digest)
                if not files.is_referred_to(session, digest):
                    self._storage.delete(self._room.blob(digest))
            for id_, _ in gone:
                self._storage.delete_below(self._room.parts(id_))
        return len(gone)

    def _abandon(self) -> int:
        """Delete what was announced and did not come, with those of its parts that did."""
        with self._ledger.begin() as session:
            gone = files.abandon(session, wait_s=UPLOAD_S, limit=AT_ONCE)
            for id_ in gone:
                self._storage.delete_below(self._room.parts(id_))
        return len(gone)

    def _forget(self) -> int:
        with self._ledger.begin() as session:
            due = files.to_forget(session, wait_s=TRANSIENT_S, limit=AT_ONCE)
            self._delete(due)
            files.forget(session, due, nowhere=str(self._room.root.child("forgotten")))
        return len(due)

    def _delete_results(self) -> int:
        with self._ledger.begin() as session:
            due = files.to_delete(session, limit=AT_ONCE)
            self._delete(due)
            files.drop(session, due)
        return len(due)

    def _delete(self, leftovers: list[Leftover]) -> None:
        for leftover in leftovers:
            self._storage.delete_below(leftover.folder)
            log.info("result.deleted", job=str(leftover.job_id), transient=leftover.transient)
