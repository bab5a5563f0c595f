"""The completion report of S3 Batch Operations, so that what reads AWS's reads ours.

Laid out as Amazon S3 does ("Examples: S3 Batch Operations completion reports"): a `manifest.json`
that names a CSV file of what succeeded and one of what failed. In the rows the HTTP status comes
before the error code although the schema has it the other way round: AWS writes both so. A failed
row without its last four columns is a row of a manifest.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

from scheduler.ledger.rows import RowRecord
from scheduler.ledger.tables import JobState
from scheduler.report.results import error_of, was_in_the_way
from scheduler.storage import Address, parse_address

FORMAT = "Report_CSV_20180820"
SCHEMA = "Bucket, Key, VersionId, TaskStatus, ErrorCode, HTTPStatusCode, ResultMessage"
SUCCEEDED, FAILED = "succeeded", "failed"
STATUS = {"object_missing": 404, "access_denied": 403, "object_too_large": 413}
"""The HTTP status that stands for an error, by its code; else by its kind."""
STATUS_OF_KIND = {"request": 400, "world": 503, "program": 500}
BLOCK = 2**20


class Completion:
    """One batch's report while it is written, in constant memory.

    Args:
        batch_id: Names the report's folder, `job-ID`.
        destination: The batch's, which that folder is in.
        folder: Where the files are made.
    """

    def __init__(self, batch_id: UUID, destination: Address, folder: Path) -> None:
        self._job = f"job-{batch_id}"
        self._destination = destination
        self._folder = folder
        (folder / self._job / "results").mkdir(parents=True)
        self._files = {
            status: (folder / self._name(status)).open("w", encoding="utf-8", newline="")
            for status in (SUCCEEDED, FAILED)
        }
        self._writers = {
            status: csv.writer(file, lineterminator="\n") for status, file in self._files.items()
        }
        self._used: set[str] = set()

    def add(self, row: RowRecord) -> None:
        """Write a row that names an object on S3.

        A row whose destination was refused is left out, as it is of `failed.jsonl`.
        """
        if row.read_from is None or not row.read_from.startswith("s3://") or was_in_the_way(row):
            return
        status = SUCCEEDED if row.state == JobState.SUCCEEDED else FAILED
        place = parse_address(row.read_from)
        # Blanks as %20 and a plus as %2B: right for those who read a plus as a blank, or as it is.
        named = (place.bucket, quote(place.key), row.source_version or "")
        self._writers[status].writerow((*named, status, *_outcome(row)))
        self._used.add(status)

    def finish(self) -> Iterable[tuple[str, str]]:
        """Close the files and write the manifest, which comes last; without rows there is none."""
        for file in self._files.values():
            file.close()
        if not self._used:
            return
        used = [status for status in self._files if status in self._used]
        manifest = {
            "Format": FORMAT,
            "ReportCreationDate": datetime.now(UTC).isoformat(timespec="microseconds"),
            "Results": [self._result(status) for status in used],
            "ReportSchema": SCHEMA,
        }
        name = f"{self._job}/manifest.json"
        (self._folder / name).write_text(json.dumps(manifest))
        yield from ((self._name(status), "text/csv; charset=utf-8") for status in used)
        yield name, "application/json"

    def _name(self, status: str) -> str:
        return f"{self._job}/results/{status}.csv"

    def _result(self, status: str) -> dict[str, str]:
        found = hashlib.md5(usedforsecurity=False)
        for block in _blocks(self._folder / self._name(status)):
            found.update(block)
        place = self._destination.child(self._name(status))
        return {
            "TaskExecutionStatus": status,
            "Bucket": place.bucket,
            "MD5Checksum": found.hexdigest(),
            "Key": place.key,
        }


def _outcome(row: RowRecord) -> tuple[int, str, str]:
    """Return a row's last columns: HTTP status, error code and message."""
    error = error_of(row)
    if error is None:
        return 200, "", str(row.objects[0].get("address", "")) if row.objects else ""
    kind = str(error.get("kind"))
    status = STATUS.get(str(error.get("code")), STATUS_OF_KIND.get(kind, 500))
    again = kind == "world" or row.state == JobState.CANCELLED
    return status, "TemporaryFailure" if again else "PermanentFailure", str(error["message"])


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block
