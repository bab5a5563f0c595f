"""``/events``: what buckets tell of. Whoever sends is known by a token or by SNS's signature."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from scheduler.api import bodies
from scheduler.triggers.receiver import Receiver

router = APIRouter(prefix="/events", tags=["events"])

EVENT_BYTES = 2**20
"""Four times what SNS and EventBridge send at most."""
SETTING = "the most that a source of events sends"


class Taken(BaseModel):
    """What became of a message."""

    jobs: int = Field(description="Jobs that it made; none of what was known, or is not meant.")


@router.post("/s3", openapi_extra=bodies.described_as("application/json", {"type": "object"}))
async def receive(request: Request) -> Taken:
    """Make jobs of the objects that a bucket's event tells of."""
    body = b"".join(
        [piece async for piece in bodies.pieces(request, max_bytes=EVENT_BYTES, setting=SETTING)]
    )
    receiver: Receiver = request.app.state.receiver
    made = await run_in_threadpool(receiver.receive, request.headers, body)
    return Taken(jobs=made)
