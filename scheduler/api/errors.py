"""What HTTP adds to the errors of `scheduler.errors`, and how each of them is answered.

RequestError
├── CredentialsInvalid      no key, an unknown or revoked one, or a wrong secret
├── NotPermitted            the key lacks the scope
├── RequestUnknown          no request of this owner has the id
├── RequestUnfinished       its result was asked for too early
├── HeaderInvalid           a header or a part of the query won't do
├── TooManyRequests         over a limit of the key, or of the caller's own
├── BodyTooLarge
├── BodyTooSlow
└── BodyInvalid             no JSON object

The shapes are fal's: `{"detail": [{loc, msg, type, url}]}` where a field of the body is at fault,
`{"detail": text, "error_type": code}` with the header `X-Fal-Error-Type` where the platform is.
"""

import re
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from models.errors import EnlargerError, Kind, RequestError, UnknownEndpoint
from scheduler import protocol
from scheduler.errors import (
    AddressSecretWrong,
    BatchPruned,
    BatchUnknown,
    EventRefused,
    FileMissing,
    KeyReused,
    NobodyReady,
    ObjectTooLarge,
    PlaceForbidden,
    ResultForgotten,
)

log = structlog.get_logger()


class CredentialsInvalid(RequestError):
    """There is no key, or not this one, or it was revoked."""


class NotPermitted(RequestError):
    """The key is good, but not for this."""


class RequestUnknown(RequestError):
    """No request of this owner has this id."""


class RequestUnfinished(RequestError):
    """The result is not there yet."""


class HeaderInvalid(RequestError):
    """A header or a part of the query won't do."""


class TooManyRequests(RequestError):
    """Over a limit of the key, or over the one that the caller named."""


class BodyTooLarge(RequestError):
    """The body has more bytes than are taken."""


class BodyTooSlow(RequestError):
    """The body came too slowly to be waited for."""


class BodyInvalid(RequestError):
    """The body is no JSON object that can be kept."""


UUID_TEXT = re.compile(r"[0-9a-fA-F-]{32,36}")
PLAIN: dict[type[EnlargerError], int] = {
    CredentialsInvalid: 401,
    NotPermitted: 403,
    EventRefused: 401,
    UnknownEndpoint: 404,
    BatchUnknown: 404,
    BatchPruned: 410,
    PlaceForbidden: 403,
    FileMissing: 404,
    AddressSecretWrong: 403,
    ResultForgotten: 410,
    BodyTooLarge: 413,
    ObjectTooLarge: 413,
}
"""Answered with their text alone."""
PLATFORM: dict[type[EnlargerError], tuple[int, str]] = {
    RequestUnfinished: (400, "bad_request"),
    HeaderInvalid: (400, "bad_request"),
    BodyTooSlow: (400, "bad_request"),
    TooManyRequests: (429, "concurrent_requests_limit"),
    KeyReused: (400, "bad_request"),
    NobodyReady: (503, "runner_scheduling_failure"),
}
"""Answered with fal's code for them."""


def handle(app: FastAPI) -> None:
    """Let an application answer errors in these shapes."""
    app.add_exception_handler(EnlargerError, _ours)
    app.add_exception_handler(HTTPException, _routing)
    app.add_exception_handler(RequestValidationError, _parameters)


def answered(exc: EnlargerError) -> JSONResponse:
    """Return the answer for one of our errors."""
    if isinstance(exc, RequestUnknown):
        return JSONResponse({"detail": str(exc), "status": "NOT_FOUND"}, 404)
    for known, status in PLAIN.items():
        if isinstance(exc, known):
            return plain(status, str(exc))
    for known, (status, code) in PLATFORM.items():
        if isinstance(exc, known):
            return platform(status, str(exc), code)
    if exc.kind is Kind.WORLD:
        return platform(503, str(exc), "runner_connection_error")
    if exc.kind is Kind.REQUEST:
        kind = "json_invalid" if isinstance(exc, BodyInvalid) else "value_error"
        return listed([protocol.complaint(str(exc), kind=kind, field=exc.field)])
    return platform(500, str(exc), "internal_error")


def plain(status: int, detail: str) -> JSONResponse:
    """Return `{"detail": text}`."""
    return JSONResponse({"detail": detail}, status)


def platform(status: int, detail: str, code: str) -> JSONResponse:
    """Return an error of the platform, as fal's protocol has it."""
    headers = {"X-Fal-Error-Type": code, **protocol.retry_headers(status)}
    return JSONResponse({"detail": detail, "error_type": code}, status, headers)


def listed(complaints: list[dict[str, Any]]) -> JSONResponse:
    """Return what is wrong with the body, as fal's protocol has it."""
    return JSONResponse({"detail": complaints}, 422, protocol.retry_headers(422))


def _ours(request: Request, exc: Exception) -> JSONResponse:
    assert isinstance(exc, EnlargerError)
    if exc.kind is not Kind.REQUEST:
        log.warning("request.failed", reason=str(exc))
    answer = answered(exc)
    id_ = request.path_params.get("request_id", "")
    if UUID_TEXT.fullmatch(id_) and not isinstance(exc, RequestUnknown):
        answer.headers["x-fal-request-id"] = id_
    return answer


def _routing(_request: Request, exc: Exception) -> JSONResponse:
    """Answer for a path or a method that there is no route for."""
    assert isinstance(exc, HTTPException)
    return JSONResponse({"detail": exc.detail}, exc.status_code, exc.headers)


def _parameters(_request: Request, exc: Exception) -> JSONResponse:
    """Answer for a parameter or a body that FastAPI refuses."""
    assert isinstance(exc, RequestValidationError)
    return listed([protocol.from_pydantic(error) for error in exc.errors()])
