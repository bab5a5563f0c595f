"""A batch's rows as lines of JSON: what became of each, and what to submit to try again.

The lines are described, column by column, in ``docs/results.md``.
"""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from scheduler.errors import AddressInvalid, RowInvalid
from scheduler.ledger import rows
from scheduler.ledger.rows import UNSUCCESSFUL, RowRecord
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.manifests.manifest import ROW_BYTES
from scheduler.manifests.strict_json import parse_object
from scheduler.storage import parse_address

ERROR = ("code", "kind", "message", "field", "text")
"""What is told of an error; a traceback stays in the ledger."""
PASSTHROUGH = "passthrough"
"""The column for columns of the user's that have a name of ours."""
CANCELLED = {
    "code": "cancelled",
    "kind": "request",
    "message": "the batch was cancelled before this image was done",
    "field": None,
}


def lines(ledger: Ledger, batch_id: UUID, *, only_failed: bool = False) -> Iterator[str]:
    """Yield the lines of ``results.jsonl`` as they are now, also for a batch that has not ended.

    Args:
        ledger: Where the batch is.
        batch_id: Which one; one that is unknown has no lines.
        only_failed: Only what ended without a result: failed, cancelled, rejected.
    """
    states = UNSUCCESSFUL if only_failed else None
    return map(result_line, rows.stream(ledger, batch_id, states=states))


def result_line(row: RowRecord) -> str:
    """Return a row's line of ``results.jsonl``, without the line end."""
    return _json(described(row))


def described(row: RowRecord) -> dict[str, Any]:
    """Return what a row's line of ``results.jsonl`` holds."""
    ours = known(row)
    theirs = row.passthrough or {}
    reserved = {*ours, PASSTHROUGH}
    free = {name: value for name, value in theirs.items() if name not in reserved}
    hidden = {name: value for name, value in theirs.items() if name in reserved}
    return {**ours, **free, **({PASSTHROUGH: hidden} if hidden else {})}


def known(row: RowRecord) -> dict[str, Any]:
    """Return what we know of a row, without columns of the user's."""
    return {**_identity(row), **_work(row), **_circumstances(row)}


def _identity(row: RowRecord) -> dict[str, Any]:
    return {
        "line": row.line,
        "id": row.custom_id,
        "job_id": str(row.id),
        "state": row.state,
        "source": row.read_from,
        "version_id": row.source_version,
    }


def _work(row: RowRecord) -> dict[str, Any]:
    """Return what went in and what came out; nulls where nothing did."""
    first = row.objects[0] if row.objects else {}
    written = sum(each.get("size_bytes", 0) for each in row.objects)
    return {
        "destination": first.get("address", row.destination),
        "objects": row.objects,
        "input_width": row.input.get("width"),
        "input_height": row.input.get("height"),
        "input_bytes": row.input.get("bytes"),
        "output_width": first.get("width"),
        "output_height": first.get("height"),
        "output_bytes": written if row.objects else None,
        "existing": row.existing,
        "reused_from": row.reused_from,
    }


def _circumstances(row: RowRecord) -> dict[str, Any]:
    return {
        "device_s": row.device_s,
        "total_s": row.total_s,
        "ended_at": row.ended_at.isoformat() if row.ended_at else None,
        "worker": row.worker,
        "failures": row.failures,
        "endpoint": row.endpoint,
        "arguments": row.arguments,
        "seed": row.made_with,
        "weights": row.weights,
        "model_notes": row.notes,
        "error": error_of(row),
    }


def error_of(row: RowRecord) -> dict[str, Any] | None:
    """Return why a row ended without a result; what an earlier attempt ran into is history."""
    if row.state not in UNSUCCESSFUL:
        return None
    if row.state == JobState.CANCELLED:
        return CANCELLED
    return {name: value for name, value in (row.error or {}).items() if name in ERROR}


def reason(row: RowRecord) -> str:
    """Say why a row ended without a result."""
    error = error_of(row) or CANCELLED
    return str(error["message"])


def retry_line(row: RowRecord, destination: str) -> str | None:
    """Return a row of ``failed.jsonl``, a manifest, without the line end.

    Args:
        row: Any row.
        destination: The batch's; names below it are written relative to it, so that the retry may
            go elsewhere.

    Returns:
        None for a row that succeeded, and for one that no retry could help: without a known
        source, or with a destination that was refused. As it stands it would be refused again, or
        replace the result of the row that it met there.
    """
    error = error_of(row)
    if error is None or was_in_the_way(row):
        return None
    columns = _columns(row, destination)
    if columns is None:
        return None
    line = _json({**columns, "error": {**error, "text": None} if "text" in error else error})
    if len(line.encode()) <= ROW_BYTES:
        return line
    return _json({**columns, "error": None})  # With it the row would be too long to be read.


def was_in_the_way(row: RowRecord) -> bool:
    """Whether a row's destination was refused: by itself it could replace another's result."""
    return row.state == JobState.REJECTED and (row.error or {}).get("field") == "destination"


def _columns(row: RowRecord, destination: str) -> dict[str, Any] | None:
    if row.source is None:
        return _as_written(row)
    ours = {
        "source": row.source,
        "source_alternative": row.source_alternative,
        "version_id": row.source_version,
        "destination": _relative(row.destination, destination),
        "id": row.custom_id,
        "arguments": row.arguments or None,
    }
    given = {name: value for name, value in ours.items() if value is not None}
    return {**given, **(row.passthrough or {})}


def _as_written(row: RowRecord) -> dict[str, Any] | None:
    """Return the columns of a line that could not be read as a row, if it names a source."""
    try:
        columns = parse_object((row.error or {}).get("text") or "")
    except RowInvalid:
        return None
    return columns if isinstance(columns.get("source"), str) else None


def _relative(place: str | None, root: str) -> str | None:
    """Return a result's name below a folder, or its address where the name alone won't do."""
    if place is None or "://" not in place:
        return place
    folder = parse_address(root).folder()
    name = parse_address(place).relative_to(folder)
    if name is None or "://" in name or not _encodable(name):
        return place
    try:
        return name if str(folder.child(name)) == place else place
    except AddressInvalid:
        return place


def _encodable(name: str) -> bool:
    """Whether a file's name is Unicode text, which not every one is."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)
