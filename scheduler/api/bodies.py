"""Reading a JSON body of a stranger: bounded in bytes, in time and in depth."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any, TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from scheduler.api.errors import BodyInvalid, BodyTooLarge, BodyTooSlow
from scheduler.errors import RowInvalid
from scheduler.manifests import strict_json

Model = TypeVar("Model", bound=BaseModel)

PATIENCE_S = 20.0
SLOWEST = 16 * 1024
"""Bytes a second; who sends more slowly, after the first `PATIENCE_S`, holds a connection for
nothing."""
BODY_SETTING = "ENLARGER_MAX_BODY_BYTES"
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


async def read_model(request: Request, model: type[Model], *, max_bytes: int) -> Model:
    """Return a request's body as what a route takes; raises like `read_object`.

    Raises:
        RequestValidationError: A field is missing, or won't do.
    """
    found = await read_object(request, max_bytes=max_bytes)
    try:
        return model.model_validate(found)
    except ValidationError as exc:
        raise RequestValidationError(exc.errors()) from exc


def described(model: type[BaseModel]) -> dict[str, Any]:
    """Return what OpenAPI is to say of a route that reads its body by `read_model`."""
    return described_as("application/json", model.model_json_schema())


def described_as(media_type: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return what OpenAPI is to say of a route that reads its body by itself."""
    return {"requestBody": {"required": True, "content": {media_type: {"schema": schema}}}}


async def read_bytes(request: Request, *, max_bytes: int) -> bytes:
    """Return a request's body.

    Raises:
        BodyTooLarge: It has more than `max_bytes`.
        BodyTooSlow: It came more slowly than `SLOWEST`, or its sender went away.
    """
    return b"".join([piece async for piece in pieces(request, max_bytes=max_bytes)])


async def pieces(
    request: Request, *, max_bytes: int, setting: str = BODY_SETTING
) -> AsyncIterator[bytes]:
    """Yield a request's body as it comes; raises like `read_bytes`.

    Args:
        request: The request.
        max_bytes: Refuse more, at once where the length was announced.
        setting: What an operator changes to allow more.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isascii() and announced.isdigit() and int(announced) > max_bytes:
        raise too_large(max_bytes, setting)
    size, deadline = 0, time.monotonic() + PATIENCE_S
    stream = request.stream().__aiter__()
    while True:
        left_s = deadline + size / SLOWEST - time.monotonic()
        try:
            async with asyncio.timeout(max(left_s, 0.0)):  # a tenth of what anyio takes
                chunk = await anext(stream, None)
        except TimeoutError as exc:
            reason = f"body: came at less than {SLOWEST} bytes a second; send it faster"
            raise BodyTooSlow(reason, field="body") from exc
        except ClientDisconnect as exc:
            reason = "body: ended before its announced length"
            raise BodyTooSlow(reason, field="body") from exc
        if chunk is None:
            return
        size += len(chunk)
        if size > max_bytes:
            raise too_large(max_bytes, setting)
        yield chunk


def too_large(max_bytes: int, setting: str) -> BodyTooLarge:
    """Return the error for a body of more than so many bytes."""
    remedy = (
        "upload files first and send their addresses"
        if setting == BODY_SETTING
        else "send less, or files in parts"
    )
    reason = f"body: is larger than {max_bytes} bytes ({setting}); {remedy}"
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
