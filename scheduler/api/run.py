"""fal's direct call: the answer comes on the same connection, which meanwhile holds no thread."""

import asyncio
from contextlib import suppress
from uuid import UUID

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from scheduler.api import answers
from scheduler.api.keyring import RequestsCaller
from scheduler.api.queue import take_in
from scheduler.ledger import requests
from scheduler.ledger.requests import Standing
from scheduler.ledger.session import Ledger

router = APIRouter(prefix="/run", tags=["run"])

CLIENT_GONE = 499


@router.post("/{path:path}")
async def run(path: str, request: Request, caller: RequestsCaller) -> Response:
    """Do a request and answer with its result."""
    accepted = await take_in(path, request, caller)
    state = request.app.state
    standing = await state.lookups.find(accepted.id)
    gone = asyncio.ensure_future(_gone(request))
    try:
        ended = await _ended(request, standing, gone)
    finally:
        gone.cancel()
        with suppress(asyncio.CancelledError):
            await gone
    if ended is None:
        await run_in_threadpool(_give_up, state.ledger, accepted.id)
        return Response(status_code=CLIENT_GONE)
    return await run_in_threadpool(answers.result, state.ledger, state.publisher, ended)


async def _ended(
    request: Request, standing: Standing, gone: "asyncio.Future[None]"
) -> Standing | None:
    """Wait for the end; None where the caller does not."""
    with request.app.state.hub.follow(standing) as follower:
        while not follower.standing.ended:
            news = asyncio.ensure_future(follower.changed())
            await asyncio.wait((news, gone), return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                news.cancel()
                return None
        found: Standing = follower.standing
        return found


async def _gone(request: Request) -> None:
    """Return once the caller has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _give_up(ledger: Ledger, request_id: UUID) -> None:
    """Let a request that has not started not run; nobody waits for it."""
    with ledger.begin() as session:
        requests.cancel(session, request_id, unless_running=True)
