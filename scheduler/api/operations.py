"""``/healthz``, ``/readyz`` and ``/metrics``: for orchestrators and for Prometheus."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from scheduler.api.keyring import allowed
from scheduler.api.metrics import exposition
from scheduler.ledger.keys import Caller, Scope

router = APIRouter(tags=["operations"])

MetricsCaller = Annotated[Caller, Depends(allowed(Scope.METRICS))]


class Health(BaseModel):
    """The process lives and answers."""

    status: str = "ok"


class ReadyReply(BaseModel):
    """What the process needs, and whether it answers."""

    database: bool
    redis: bool
    storage: bool


@router.get("/healthz")
async def healthz() -> Health:
    """Say that the process lives, whatever it needs is there or not."""
    return Health()


@router.get("/readyz", responses={200: {"model": ReadyReply}, 503: {"model": ReadyReply}})
def readyz(request: Request) -> JSONResponse:
    """Say whether the process can do its work."""
    seen = request.app.state.readiness.look()
    return JSONResponse(dict(seen), 200 if all(seen.values()) else 503)


@router.get("/metrics", response_class=Response)
def metrics(request: Request, _caller: MetricsCaller) -> Response:
    """Return the system's figures, and those of this process, in Prometheus' text format."""
    state = request.app.state
    return Response(exposition(state.ledger, state.http), media_type=CONTENT_TYPE_LATEST)
