"""``/v1/batches``: what `enlarger submit`, `status` and the rest do, for the owner of a key."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from models import catalog
from models.errors import ArgumentInvalid
from scheduler.api.bodies import described, read_model
from scheduler.api.following import Followed, event_stream
from scheduler.api.keyring import BatchesCaller
from scheduler.desk import LedgerDesk
from scheduler.ledger.keys import Caller
from scheduler.ledger.tables import BatchState, JobState
from scheduler.manifests.dialect import Dialect, Encoding
from scheduler.pace import Standing
from scheduler.report import results
from scheduler.submission import Order

router = APIRouter(prefix="/v1", tags=["batches"])

PIECE_BYTES = 2**16
"""Lines of results are sent in pieces of this size: each piece is a change of threads."""
RETRIED = (JobState.FAILED, JobState.CANCELLED)


class DialectBody(BaseModel):
    """What an order says about its manifest; by default nothing, and it is found out."""

    model_config = ConfigDict(extra="forbid")

    format: str | None = Field(default=None, max_length=20)
    fields_: tuple[str, ...] = Field(default=(), alias="fields", max_length=200)
    encoding: Encoding | None = Field(default=None)
    comments: bool = False


class OrderBody(BaseModel):
    """A batch to be made; see `enlarger submit --help`."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(
        min_length=1,
        max_length=4096,
        description="A prefix, folder, image or manifest below ENLARGER_API_PLACES, or a URL.",
        examples=["s3://photos/in/"],
    )
    destination: str = Field(
        min_length=1,
        max_length=4096,
        description="The folder or prefix for results, below ENLARGER_API_PLACES.",
        examples=["s3://photos/out/"],
    )
    endpoint: str = Field(
        default=catalog.DEFAULT_ENDPOINT, max_length=200, description="The catalogue's id."
    )
    arguments: dict[str, Any] = Field(
        default={}, description="Of the endpoint, for every row; a row's own win."
    )
    include: tuple[str, ...] = Field(default=(), max_length=100, description="Globs to take.")
    exclude: tuple[str, ...] = Field(default=(), max_length=100, description="Globs to leave out.")
    priority: int = Field(default=0, ge=-100, le=100, description="Higher is served first.")
    idempotency_key: str | None = Field(
        default=None, max_length=255, description="The same key is the same batch."
    )
    again: bool = Field(default=False, description="Submit anew what was submitted before.")
    in_place: bool = Field(default=False, description="Results may replace their sources.")
    only_if_absent: bool = Field(default=False, description="Results replace nothing.")
    skip_existing: bool = Field(
        default=False, description="A row whose result is there already is done."
    )
    reuse: bool = Field(default=True, description="A row may get a copy of an earlier result.")
    dialect: DialectBody = Field(
        default=DialectBody(), description="What is said about how a manifest is written."
    )
    max_rejected: int | None = Field(
        default=None, ge=0, lt=2**32, description="Cancel when more rows than this are rejected."
    )
    webhook: str | None = Field(
        default=None,
        max_length=4096,
        description="Is told when the batch has finished, and when its report is there.",
    )

    def order(self) -> Order:
        """Return it as what is submitted."""
        fields = {name: value for name, value in self if name != "dialect"}
        return Order(**fields, dialect=Dialect.from_json(self.dialect.model_dump(by_alias=True)))


class Accepted(BaseModel):
    """The batch that an order became, or already was."""

    id: UUID
    new: bool


class BatchReply(BaseModel):
    """A batch's exact counters, and how fast it goes."""

    id: UUID
    state: BatchState
    source: str
    destination: str
    endpoint: str
    reason: str | None = Field(description="Why it is unreadable, or has no report.")
    created_at: datetime
    read_at: datetime | None = Field(description="When its source was read to the end.")
    ended_at: datetime | None
    reported_at: datetime | None
    total: int = Field(description="Rows that were read so far.")
    succeeded: int
    failed: int
    cancelled: int
    rejected: int
    skipped: int = Field(description="What a listing left out; no part of the total.")
    existing: int = Field(description="Of those that succeeded, had their result before.")
    reused: int = Field(description="Of those that succeeded, are copies of earlier results.")
    bytes_out: int
    device_s: float
    ended: int = Field(description="Rows that have their outcome.")
    rate: float = Field(description="Rows that ended a second, lately.")
    eta_s: float | None = Field(description="Seconds to the last row; null where nobody knows.")


class BatchList(BaseModel):
    """Batches of an owner's, the newest first."""

    batches: list[BatchReply]


class JobPage(BaseModel):
    """Rows of a batch, in the columns of ``results.jsonl``."""

    jobs: list[dict[str, Any]]
    next: int | None = Field(description="What to ask behind (`after`); null at the end.")


class Changed(BaseModel):
    """Whether there was anything to change."""

    changed: bool


class Retried(BaseModel):
    """How many rows wait again."""

    retried: int


class RetryBody(BaseModel):
    """Which rows get another chance."""

    model_config = ConfigDict(extra="forbid")

    states: set[JobState] = Field(
        default=set(RETRIED), min_length=1, description="`failed`, `cancelled` or both."
    )


class PriorityBody(BaseModel):
    """What a batch's priority is to be."""

    model_config = ConfigDict(extra="forbid")

    priority: int = Field(ge=-100, le=100)


class EndpointReply(BaseModel):
    """An endpoint, and how many workers can serve it."""

    id: str
    summary: str
    workers: int


class EndpointList(BaseModel):
    """The catalogue."""

    endpoints: list[EndpointReply]


def desk(request: Request, caller: BatchesCaller) -> LedgerDesk:
    """Return the desk of the caller's batches."""
    return _desk(request, caller)


def _desk(request: Request, caller: Caller) -> LedgerDesk:
    state = request.app.state
    places = state.settings.api_places
    return LedgerDesk(state.ledger, state.storage, owner=caller.owner, places=places)


def batch_id(at: Annotated[LedgerDesk, Depends(desk)], batch: Annotated[str, Path()]) -> UUID:
    """Return the batch that an id, or the end of one, means."""
    return at.find(batch)


OwnDesk = Annotated[LedgerDesk, Depends(desk)]
BatchId = Annotated[UUID, Depends(batch_id)]
Limit = Annotated[int, Query(ge=1, le=1000)]


@router.post("/batches", openapi_extra=described(OrderBody))
async def submit(request: Request, caller: BatchesCaller) -> Accepted:
    """Check an order and make its batch; a scheduler reads its source from then on."""
    limit = request.app.state.settings.max_body_bytes
    body = await read_model(request, OrderBody, max_bytes=limit)
    made = await run_in_threadpool(_desk(request, caller).submit, body.order())
    return Accepted(id=made.id, new=made.new)


@router.get("/batches")
def list_batches(request: Request, at: OwnDesk, limit: Limit = 20) -> BatchList:
    """List the newest batches."""
    paces = request.app.state.paces
    return BatchList(batches=[reply(paces.look(each)) for each in at.latest(limit=limit)])


@router.get("/batches/{batch}")
def read_batch(request: Request, at: OwnDesk, batch_id: BatchId) -> BatchReply:
    """Say where a batch stands, at a cost that does not grow with it."""
    return reply(request.app.state.paces.look(at.progress([batch_id])[0]))


@router.get("/batches/{batch}/jobs")
def list_jobs(
    at: OwnDesk,
    batch_id: BatchId,
    after: Annotated[int, Query(ge=0, lt=2**32)] = 0,
    limit: Limit = 100,
    state: Annotated[list[JobState] | None, Query()] = None,
) -> JobPage:
    """List rows by line, a page at a time."""
    found = at.page(batch_id, after=after, limit=limit, states=state)
    return JobPage(
        jobs=[results.described(row) for row in found],
        next=found[-1].line if len(found) == limit else None,
    )


@router.get("/batches/{batch}/results", response_class=StreamingResponse)
def read_results(at: OwnDesk, batch_id: BatchId, *, failed: bool = False) -> StreamingResponse:
    """Send every row with its outcome as JSON lines, as they are now."""
    lines = at.lines(batch_id, only_failed=failed)
    return StreamingResponse(_pieces(lines), media_type="application/x-ndjson")


@router.get("/batches/{batch}/events", response_class=StreamingResponse)
async def follow(request: Request, at: OwnDesk, batch_id: BatchId) -> Response:
    """Send a batch's counters whenever they change, until it has its report."""
    followed: Followed = request.app.state.followed
    return event_stream(_events(followed.progress(batch_id)))


@router.post("/batches/{batch}/cancel")
def cancel(at: OwnDesk, batch_id: BatchId) -> Changed:
    """Let nothing more of a batch start."""
    return Changed(changed=at.cancel(batch_id))


@router.post("/batches/{batch}/pause")
def pause(at: OwnDesk, batch_id: BatchId) -> Changed:
    """Let nothing of a batch start for a while."""
    return Changed(changed=at.pause(batch_id))


@router.post("/batches/{batch}/resume")
def resume(at: OwnDesk, batch_id: BatchId) -> Changed:
    """Let a paused batch go on."""
    return Changed(changed=at.resume(batch_id))


@router.post("/batches/{batch}/prioritize", openapi_extra=described(PriorityBody))
async def prioritize(request: Request, at: OwnDesk, batch_id: BatchId) -> Changed:
    """Serve a batch earlier or later."""
    limit = request.app.state.settings.max_body_bytes
    body = await read_model(request, PriorityBody, max_bytes=limit)
    return Changed(changed=await run_in_threadpool(at.prioritize, batch_id, body.priority))


@router.post("/batches/{batch}/retry", openapi_extra=described(RetryBody))
async def retry(request: Request, at: OwnDesk, batch_id: BatchId) -> Retried:
    """Give rows that ended without a result another chance; rejected ones stay rejected."""
    limit = request.app.state.settings.max_body_bytes
    body = await read_model(request, RetryBody, max_bytes=limit)
    if not body.states <= set(RETRIED):
        reason = f"states: only {' and '.join(RETRIED)} rows can be tried again"
        raise ArgumentInvalid(reason, field="states")
    return Retried(retried=await run_in_threadpool(at.retry, batch_id, sorted(body.states)))


@router.get("/endpoints")
def list_endpoints(at: OwnDesk) -> EndpointList:
    """List the upscalers, and how many workers can serve each."""
    ready = at.ready()
    return EndpointList(
        endpoints=[
            EndpointReply(id=each.id, summary=each.summary, workers=ready.get(each.id, 0))
            for each in catalog.ENDPOINTS.values()
        ]
    )


def reply(standing: Standing) -> BatchReply:
    """Return where a batch stands as the API says it."""
    progress = standing.progress
    return BatchReply(
        **vars(progress), ended=progress.ended, rate=standing.rate, eta_s=standing.left_s
    )


async def _events(standings: AsyncGenerator[Standing, None]) -> AsyncGenerator[str, None]:
    async with aclosing(standings):
        async for standing in standings:
            yield reply(standing).model_dump_json()


def _pieces(lines: Iterator[str]) -> Iterator[bytes]:
    """Join lines to pieces that are worth sending."""
    piece = bytearray()
    for line in lines:
        piece += line.encode() + b"\n"
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
