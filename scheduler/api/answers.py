"""How a request's standing and its result are told: fal's status documents and result bodies."""

import json
from typing import Any
from uuid import UUID

from fastapi import Request
from sqlalchemy import Connection
from starlette.responses import Response

from scheduler import protocol
from scheduler.api import paths
from scheduler.api.edge import REQUEST_ID, visit_of
from scheduler.api.errors import RequestUnfinished
from scheduler.api.hub import Hub
from scheduler.api.places import Area
from scheduler.files.published import Publisher
from scheduler.ledger import files, requests
from scheduler.ledger.requests import Standing
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState

IN_QUEUE, IN_PROGRESS, COMPLETED = "IN_QUEUE", "IN_PROGRESS", "COMPLETED"
STATUS = {
    JobState.WAITING: IN_QUEUE,
    JobState.QUEUED: IN_QUEUE,
    JobState.RUNNING: IN_PROGRESS,
}
"""fal's three states; whatever has ended is completed."""
YES = ("1", "true", "yes")

Entries = list[dict[str, Any]]


async def find(request: Request, path: str, owner: str, text: str) -> Standing:
    """Return where the request stands that a path names.

    Raises:
        RequestUnknown: There is none, or it is somebody else's, or another endpoint's.
    """
    found: Standing | None = await request.app.state.lookups.find(paths.request_id(text))
    if found is None or found.owner != owner or not paths.names(path, found.endpoint):
        raise paths.unknown(text)
    return found


def urls(request: Request, endpoint: str, request_id: UUID) -> dict[str, str]:
    """Return a request's addresses, as its caller sees the server."""
    base = visit_of(request).bases.of(Area.QUEUE)
    url = f"{base}/{paths.alias(endpoint)}/requests/{request_id}"
    return {"response_url": url, "status_url": f"{url}/status", "cancel_url": f"{url}/cancel"}


def status_code(standing: Standing) -> int:
    """Return the code of a status answer, by which some clients tell whether to go on."""
    return 200 if standing.ended else 202


def status(standing: Standing, addresses: dict[str, str], entries: Entries | None) -> Any:  # noqa: ANN401 - JSON
    """Return the status document; `entries` are the log's, None where it was not asked for."""
    word = STATUS.get(standing.state, COMPLETED)
    found: dict[str, Any] = {"status": word, "request_id": str(standing.id), **addresses}
    if word == IN_QUEUE:
        return found | {"queue_position": standing.position}
    found["logs"] = entries
    if word == COMPLETED:
        found |= _ending(standing)
    return found


def _ending(standing: Standing) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if standing.started_at is not None and standing.ended_at is not None:
        seconds = (standing.ended_at - standing.started_at).total_seconds()
        found["metrics"] = {"inference_time": round(max(seconds, 0.0), 3)}
    if standing.state is not JobState.SUCCEEDED:
        failure = protocol.failure(standing.state, standing.error)
        found["error"] = failure.summary
        if failure.code is not None:
            found["error_type"] = failure.code
    return found


def log_entries(connection: Connection, hub: Hub, request_id: UUID) -> tuple[int, Entries]:
    """Return a job's log and its attempt: from the ledger or as it was heard, what is more."""
    heard = hub.heard(request_id)
    stored = requests.log_of(connection, request_id)
    return max((heard.epoch, list(heard.lines)), stored, key=lambda log: (log[0], len(log[1])))


def result(ledger: Ledger, publisher: Publisher, standing: Standing) -> Response:
    """Return the result of a request, or why it has none.

    Raises:
        RequestUnfinished: It has not ended.
        ResultForgotten: It was not to be kept, and was delivered before or not asked for in time.
        StorageUnavailable: An image that is to be in the answer can't be read now.
    """
    if not standing.ended:
        reason = "Request is still in progress"
        raise RequestUnfinished(reason)
    if standing.state is not JobState.SUCCEEDED:
        failure = protocol.failure(standing.state, standing.error)
        return answer(failure.body, failure.status, standing.id, **failure.headers)
    with ledger.autocommit(durable=False) as connection:
        outcome = requests.outcome(connection, standing.id)
    body = publisher.body(standing.id, outcome, base=standing.cdn)
    if standing.transient:
        with ledger.begin() as session:
            files.deliver(session, standing.id)
    return answer(body, 200, standing.id)


def answer(document: Any, code: int, request_id: UUID, **headers: str) -> Response:  # noqa: ANN401 - JSON
    """Return a JSON answer about a request."""
    return Response(
        content=json.dumps(document, ensure_ascii=False, allow_nan=False),
        status_code=code,
        headers={REQUEST_ID: str(request_id), **headers},
        media_type="application/json",
    )
