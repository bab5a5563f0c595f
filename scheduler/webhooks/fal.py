"""fal's message: one POST with what a request came to."""

import json
from typing import Any

from scheduler.ledger.outbox import Noted
from scheduler.ledger.rows import RowRecord
from scheduler.ledger.tables import JobState

NOBODY = "enlarger"
"""The user id of requests without an owner: fal's verifiers want one that is not empty."""


def of_job(event: Noted, row: RowRecord | None) -> str:
    """Return the message of a request that is final, in fal's shape.

    Args:
        event: The job's end.
        row: The job; None where the ledger has it no more.
    """
    request_id = str(event.job_id)
    told: dict[str, Any] = {"request_id": request_id, "gateway_request_id": request_id}
    if event.type == f"job.{JobState.SUCCEEDED}":
        told |= _succeeded(row)
    else:
        told |= _unsuccessful(event, row)
    return json.dumps(told, ensure_ascii=False)


def _succeeded(row: RowRecord | None) -> dict[str, Any]:
    body = (row.outcome or {}).get("body") if row is not None else None
    told: dict[str, Any] = {"status": "OK", "error": None, "payload": body}
    if body is None:
        told["payload_error"] = "the result is no longer kept"
    return told


def _unsuccessful(event: Noted, row: RowRecord | None) -> dict[str, Any]:
    error = (row.error if row is not None else None) or {}
    message = error.get("message") or f"the request was {event.type.removeprefix('job.')}"
    return {
        "status": "ERROR",
        "error": message,
        "payload": {"detail": [_complaint(error, message)]},
    }


def _complaint(error: dict[str, Any], message: str) -> dict[str, Any]:
    field = error.get("field")
    return {
        "loc": ["body"] if field is None else ["body", field],
        "msg": message,
        "type": error.get("code") or "request_error",
    }
