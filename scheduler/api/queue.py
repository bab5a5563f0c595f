"""fal's queue: submit, status, stream, result, cancel."""

import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from scheduler import traces
from scheduler.api import answers, bodies, wishes
from scheduler.api.answers import Entries
from scheduler.api.desk import Accepted, Submission
from scheduler.api.edge import REQUEST_ID, visit_of
from scheduler.api.hub import Follower
from scheduler.api.keyring import RequestsCaller
from scheduler.api.places import Area
from scheduler.ledger import requests
from scheduler.ledger.keys import Caller
from scheduler.ledger.requests import Standing
from scheduler.ledger.session import Ledger

router = APIRouter(prefix="/queue", tags=["queue"])

PING_S = 15.0
"""Node's fetch drops a body that is silent for 300 s."""
REQUEST = "/{path:path}/requests/{request_id}"


@router.get(REQUEST + "/status")
async def read_status(
    path: str, request_id: str, request: Request, caller: RequestsCaller, logs: str = ""
) -> Response:
    """Tell where a request stands."""
    standing = await answers.find(request, path, caller.owner, request_id)
    entries: Entries | None = None
    if logs.lower() in answers.YES:
        entries = (await run_in_threadpool(_log, request, standing))[1]
    addresses = answers.urls(request, standing.endpoint, standing.id)
    document = answers.status(standing, addresses, entries)
    return answers.answer(document, answers.status_code(standing), standing.id)


@router.get(REQUEST + "/status/stream")
async def stream_status(
    path: str, request_id: str, request: Request, caller: RequestsCaller, logs: str = ""
) -> Response:
    """Tell where a request stands, again at each change, until it has ended."""
    standing = await answers.find(request, path, caller.owner, request_id)
    return StreamingResponse(
        _events(request, standing, logs=logs.lower() in answers.YES),
        media_type="text/event-stream",
        headers={REQUEST_ID: str(standing.id), "cache-control": "no-store"},
    )


@router.get(REQUEST + "/response", include_in_schema=False)
@router.get(REQUEST)
async def read_result(
    path: str, request_id: str, request: Request, caller: RequestsCaller
) -> Response:
    """Return the result, or why there is none."""
    state = request.app.state
    standing = await answers.find(request, path, caller.owner, request_id)
    return await run_in_threadpool(answers.result, state.ledger, state.publisher, standing)


@router.put(REQUEST + "/cancel")
async def cancel(path: str, request_id: str, request: Request, caller: RequestsCaller) -> Response:
    """Let a request not run; what runs already may finish all the same."""
    standing = await answers.find(request, path, caller.owner, request_id)
    accepted = await run_in_threadpool(_cancel, request.app.state.ledger, standing.id)
    word = "CANCELLATION_REQUESTED" if accepted else "ALREADY_COMPLETED"
    return answers.answer({"status": word}, 202 if accepted else 400, standing.id)


@router.post("/{path:path}")
async def submit(path: str, request: Request, caller: RequestsCaller) -> Response:
    """Take a request in; it waits for its turn."""
    accepted = await take_in(path, request, caller)
    id_ = str(accepted.id)
    document: dict[str, Any] = {
        "status": answers.IN_QUEUE,
        "request_id": id_,
        "gateway_request_id": id_,
        "queue_position": accepted.position,
        **answers.urls(request, path, accepted.id),
    }
    return answers.answer(document, 200, accepted.id)


async def take_in(endpoint: str, request: Request, caller: Caller) -> Accepted:
    """Read a request's body and write it into the ledger."""
    state, began_ns = request.app.state, time.time_ns()
    wanted = wishes.read(request.headers, request.query_params)
    body = await bodies.read_object(request, max_bytes=state.settings.max_body_bytes)
    submission = Submission(
        endpoint=endpoint,
        body=body,
        caller=caller,
        wishes=wanted,
        cdn=visit_of(request).bases.of(Area.CDN),
    )
    accepted: Accepted = await state.inbox.submit(submission)
    caller_trace = request.headers.get("traceparent")
    traces.note("submit", accepted.id, began_ns, caller=caller_trace, endpoint=endpoint)
    return accepted


def _cancel(ledger: Ledger, request_id: UUID) -> bool:
    with ledger.begin() as session:
        return requests.cancel(session, request_id)


async def _events(request: Request, standing: Standing, *, logs: bool) -> AsyncIterator[str]:
    """Yield a server-sent event for each change, with the lines of the log that are new."""
    addresses = answers.urls(request, standing.endpoint, standing.id)
    told = None
    with request.app.state.hub.follow(standing) as follower:
        while True:
            standing = follower.standing
            # A document of a waiting request has no log; what was heard early is for the next one.
            entries = await _unseen(request, follower) if logs and not standing.waits else None
            if standing.mark != told or entries:
                told = standing.mark
                document = answers.status(standing, addresses, entries)
                yield f"data: {json.dumps(document, ensure_ascii=False)}\n\n"
            if standing.ended:
                return
            while not await follower.wait(PING_S):
                yield ": ping\n\n"


async def _unseen(request: Request, follower: Follower) -> Entries:
    """Return the lines that a follower was not given yet; the ledger has those that came before."""
    heard = request.app.state.hub.heard(follower.standing.id)
    epoch, lines = heard.epoch, heard.lines
    if follower.is_new or follower.standing.ended:
        epoch, lines = await run_in_threadpool(_log, request, follower.standing)
    return follower.unseen(epoch, lines)


def _log(request: Request, standing: Standing) -> tuple[int, Entries]:
    state = request.app.state
    with state.ledger.autocommit(durable=False) as connection:
        return answers.log_entries(connection, state.hub, standing.id)
