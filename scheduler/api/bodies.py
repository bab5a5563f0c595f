"""Reading a JSON body of a stranger: bounded in bytes, in time and in depth."""

import time
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from scheduler.api.errors import BodyInvalid, BodyTooLarge, BodyTooSlow
from scheduler.errors import RowInvalid
from scheduler.manifests import strict_json

PATIENCE_S = 20.0
SLOWEST = 16 * 1024
"""Bytes a second; who sends more slowly, after the first `PATIENCE_S`, holds a connection for
nothing."""
QUICKLY_PARSED = 64 * 1024
"""Bytes that may be parsed without leaving the event loop."""


async def read_object(request: Request, *, max_bytes: int) -> dict[str, Any]:
    """Return the JSON object that a request's body is, whatever its Content-Type says.

    Raises:
        BodyTooLarge: It has more than `max_bytes`.
        BodyTooSlow: It came more slowly than `SLOWEST`.
        BodyInvalid: It is no JSON object, too deep, or holds what can't be stored.
    """
    data = await read_bytes(request, max_bytes=max_bytes)
    if len(data) <= QUICKLY_PARSED:
        return parse(data)
    return await run_in_threadpool(parse, data)


async def read_bytes(request: Request, *, max_bytes: int) -> bytes:
    """Return a request's body.

    Raises:
        BodyTooLarge: It has more than `max_bytes`.
        BodyTooSlow: It came more slowly than `SLOWEST`, or its sender went away.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isascii() and announced.isdigit() and int(announced) > max_bytes:
        raise too_large(max_bytes)
    chunks: list[bytes] = []
    size, deadline = 0, time.monotonic() + PATIENCE_S
    stream = request.stream().__aiter__()
    while True:
        left_s = deadline + size / SLOWEST - time.monotonic()
        try:
            with anyio.fail_after(max(left_s, 0.0)):
                chunk = await anext(stream, None)
        except TimeoutError as exc:
            reason = f"body: came at less than {SLOWEST} bytes a second; send it faster"
            raise BodyTooSlow(reason, field="body") from exc
        except ClientDisconnect as exc:
            reason = "body: ended before its announced length"
            raise BodyTooSlow(reason, field="body") from exc
        if chunk is None:
            return b"".join(chunks)
        size += len(chunk)
        if size > max_bytes:
            raise too_large(max_bytes)
        chunks.append(chunk)


def too_large(max_bytes: int) -> BodyTooLarge:
    """Return the error for a body of more than so many bytes."""
    reason = (
        f"body: is larger than {max_bytes} bytes (ENLARGER_MAX_BODY_BYTES); "
        "upload files first and send their addresses"
    )
    return BodyTooLarge(reason, field="body")


def parse(data: bytes) -> dict[str, Any]:
    """Return the JSON object that some bytes are; none at all is an empty one.

    Raises:
        BodyInvalid: They are something else, too deep, or hold what can't be stored.
    """
    if not data.strip():
        return {}
    try:
        return strict_json.parse_object(data.decode(), what="the body")
    except UnicodeDecodeError as exc:
        reason = "the body is no UTF-8"
        raise BodyInvalid(reason) from exc
    except RowInvalid as exc:
        raise BodyInvalid(str(exc), field=exc.field) from exc
