"""fal's message: one POST with what a request came to."""

import json
from collections.abc import Callable
from typing import Any

from models.errors import EnlargerError
from scheduler import protocol
from scheduler.ledger.outbox import Noted
from scheduler.ledger.rows import RowRecord
from scheduler.ledger.tables import JobState

NOBODY = "enlarger"
"""The user id of requests without an owner: fal's verifiers want one that is not empty."""
Publish = Callable[[RowRecord], dict[str, Any]]
"""Returns the body that whoever asks for the result is answered with; raises why there is none."""


def of_job(event: Noted, row: RowRecord | None, publish: Publish) -> str:
    """Return the message of a request that is final, in fal's shape.

    Args:
        event: The job's end.
        row: The job; None where the ledger has it no more.
        publish: Makes the result's body.
    """
    request_id = str(event.job_id)
    told: dict[str, Any] = {"request_id": request_id, "gateway_request_id": request_id}
    state = JobState(event.type.removeprefix("job."))
    if state is JobState.SUCCEEDED:
        told |= {"status": "OK", "error": None, **_payload(row, publish)}
    else:
        told |= {"status": "ERROR", **_failure(state, row)}
    return json.dumps(told, ensure_ascii=False)


def _payload(row: RowRecord | None, publish: Publish) -> dict[str, Any]:
    if row is None or not row.outcome:
        return {"payload": None, "payload_error": "the result is no longer kept"}
    try:
        return {"payload": publish(row)}
    except EnlargerError as exc:
        # A success all the same: who asks for the result later may well get it.
        return {"payload": None, "payload_error": str(exc)}


def _failure(state: JobState, row: RowRecord | None) -> dict[str, Any]:
    failure = protocol.failure(state, None if row is None else row.error)
    by_the_model = not isinstance(failure.detail, str)
    error = f"Invalid status code: {failure.status}" if by_the_model else failure.detail
    return {"error": error, "payload": failure.body}
