"""Deletes results that are older than the operator wants: only what a batch's own jobs wrote."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import structlog

from models.errors import RequestError
from scheduler.errors import ObjectMissing
from scheduler.ledger import retention, rows
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from scheduler.storage import Storage

log = structlog.get_logger()

ROWS_AT_ONCE = 500
CLOCKS_DIFFER = timedelta(minutes=5)
"""By how much the store's clock may be ahead of the ledger's."""


class Discarder:
    """The scheduler's duty to delete results by age."""

    def __init__(
        self, ledger: Ledger, storage: Storage, settings: Settings, *, keep_s: float
    ) -> None:
        """Prepare; `keep_s` is for how long results stay after their batch has ended."""
        self._ledger = ledger
        self._storage = storage
        self._threads = settings.store_threads
        self._keep = timedelta(seconds=keep_s)

    def step(self) -> bool:
        """Delete some of the results of one batch; tell whether there may be more.

        Raises:
            LedgerUnavailable: Some may be gone already; they are looked for again.
            StorageUnavailable: Likewise.
        """
        with self._ledger.begin() as session:
            before = database_time(session) - self._keep
            batch = retention.discardable(session, before=before)
            if batch is None:
                return False
            page = rows.page(
                session,
                batch.id,
                after=batch.discarded,
                limit=ROWS_AT_ONCE,
                states=[JobState.SUCCEEDED],
            )
        # Where results took the place of their sources, deleting them would delete the user's own.
        own = [row for row in page if not row.existing and not batch.options.get("in_place")]
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(self._discard, own))
        with self._ledger.begin() as session:
            line = page[-1].line if page else batch.discarded
            retention.discarded(session, batch, line, last=len(page) < ROWS_AT_ONCE)
        return True

    def _discard(self, row: rows.RowRecord) -> None:
        assert row.ended_at is not None
        for each in row.objects:
            try:
                if self._is_unchanged(each, row.ended_at):
                    self._storage.delete(each["address"])
            except ObjectMissing:
                pass
            except RequestError as exc:
                log.warning("result.kept", address=each["address"], reason=str(exc))

    def _is_unchanged(self, each: dict[str, Any], ended_at: datetime) -> bool:
        """Tell whether what lies there is what the job wrote, and not something later."""
        found = self._storage.stat(each["address"])
        is_same = (found.etag, found.size) == (each["etag"], each["size_bytes"])
        return is_same and found.modified < ended_at + CLOCKS_DIFFER
