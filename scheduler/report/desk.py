"""Writes the report of a batch: its files in the destination.

`results.jsonl` has a line for every row, `failed.jsonl` is a manifest of the rows to try again, and
`report.html` shows pictures beside their sources; `results.parquet` and the completion report of S3
Batch Operations are there where they are possible. The ledger stays the truth: all can be made
anew.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from models.errors import RequestError
from scheduler.errors import ObjectMissing, StorageUnavailable
from scheduler.ledger import batches, rows
from scheduler.ledger.batches import Progress
from scheduler.ledger.rows import RowRecord
from scheduler.ledger.session import Ledger
from scheduler.naming import FAILED, RESULTS, SHEET
from scheduler.report import results, sheet
from scheduler.report.completion import Completion
from scheduler.report.further import Further
from scheduler.report.selection import Selection
from scheduler.report.table import Table
from scheduler.report.thumbnails import Thumbnails
from scheduler.storage import Storage, parse_address

LINES = "application/x-ndjson"
HTML = "text/html; charset=utf-8"


def write(ledger: Ledger, storage: Storage, batch_id: UUID) -> None:
    """Write an ended batch's report into its destination, over that of an earlier batch.

    Memory stays constant however large the batch. Repeating it is harmless.

    Raises:
        BatchUnknown: There is no such batch.
        LedgerUnavailable: Try again.
        StorageUnavailable: The store is unwell, or this machine has no room for the files; try
            again. A picture that can't be had is no reason: it is left out of the sheet.
        RequestError: The store refuses to keep a report at the destination.
    """
    with ledger.begin() as session:
        batch = batches.progress(session, batch_id)
        submitted = batches.get(session, batch_id)
        arguments, options = submitted.arguments, submitted.options
    with _scratch() as folder:
        desk = _Desk(storage=storage, batch=batch, folder=folder)
        further: list[Further] = [Table(folder)] if Table.is_possible() else []
        if options.get("completion_report"):
            further.append(Completion(batch_id, parse_address(batch.destination), folder))
        desk.write_lines(rows.stream(ledger, batch_id), further)
        thumbnails = Thumbnails(storage, folder)
        with (folder / SHEET).open("w", encoding="utf-8") as page:
            sheet.write(page, batch, arguments, desk.selection, thumbnails)
        desk.store(SHEET, HTML)


@contextmanager
def _scratch() -> Iterator[Path]:
    """Make a temporary folder, and turn "no space left" in it into an error to try again after."""
    try:
        with tempfile.TemporaryDirectory(prefix="enlarger-report-") as folder:
            yield Path(folder)
    except OSError as exc:
        place = tempfile.gettempdir()
        reason = f"{place}: the report can't be written there ({exc}); free space or set TMPDIR"
        raise StorageUnavailable(reason) from exc


@dataclass(frozen=True, kw_only=True)
class _Desk:
    """One report while it is written."""

    storage: Storage
    batch: Progress
    folder: Path
    selection: Selection = field(default_factory=Selection)

    def write_lines(self, found: Iterator[RowRecord], further: Sequence[Further]) -> None:
        """Write and store what has a row for each, and choose what the sheet shows, in one pass."""
        retries = 0
        with (
            (self.folder / RESULTS).open("w", encoding="utf-8") as everything,
            (self.folder / FAILED).open("w", encoding="utf-8") as failed,
        ):
            for row in found:
                everything.write(results.result_line(row) + "\n")
                retry = results.retry_line(row, self.batch.destination)
                if retry is not None:
                    failed.write(retry + "\n")
                    retries += 1
                self.selection.add(row)
                for each in further:
                    each.add(row)
        self.store(RESULTS, LINES)
        self._settle_failed(retries)
        for each in further:
            for name, content_type in each.finish():
                self.store(name, content_type)

    def store(self, name: str, content_type: str) -> None:
        """Store a file of the temporary folder at the destination."""
        self.storage.write_file(
            self._address(name),
            self.folder / name,
            content_type=content_type,
            within=self.batch.destination,
        )

    def _settle_failed(self, retries: int) -> None:
        address = self._address(FAILED)
        if self.batch.read_at is None and self.storage.is_same_object(self.batch.source, address):
            return  # It was cancelled half-way: what it has not read is listed nowhere else.
        if retries:
            self.store(FAILED, LINES)
        else:
            self._remove_stale(address)

    def _remove_stale(self, address: str) -> None:
        """Let nobody try again what an earlier batch could not do."""
        try:
            self.storage.stat(address)
        except ObjectMissing:
            return
        except RequestError:
            pass  # It may be there, for all that we may see.
        try:
            self.storage.delete(address)
        except RequestError:  # Results need no permission to delete; an empty manifest will do.
            self.store(FAILED, LINES)

    def _address(self, name: str) -> str:
        return str(parse_address(self.batch.destination).child(name))
