"""How fal's protocol spells what became of a job: error shapes, codes, headers. Pure functions.

Used by the answers of the API and by the payloads of webhooks, which must be the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from models.errors import Kind
from scheduler.ledger.tables import JobState

DOCS = "https://docs.fal.ai/errors"
SHOWN_CHARACTERS = 200
"""Longest text of an offending value in an answer: a data URI has millions."""
CONTEXT_TYPES = (str, int, float, bool, list)
RETRIED = (429, 503)
"""Answers that ask for another try."""


def complaint(
    message: str,
    *,
    kind: str,
    field: str | None = None,
    context: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return one entry of a `detail` list.

    Args:
        message: For people.
        kind: The stable code of the error.
        field: The field of the body at fault; None where it is the whole.
        context: The limits, by the names that fal documents for this kind.
    """
    found: dict[str, Any] = {
        "loc": ["body"] if field is None else ["body", field],
        "msg": message,
        "type": kind,
        "url": f"{DOCS}#{kind}",
    }
    return found | ({"ctx": dict(context)} if context else {})


def from_pydantic(error: Mapping[str, Any]) -> dict[str, Any]:
    """Return one of pydantic's errors as an entry of a `detail` list, with bounded values."""
    location = list(error["loc"])
    if not location or location[0] not in ("body", "query", "path", "header"):
        location = ["body", *location]
    context = {
        name: _shown(value)
        for name, value in (error.get("ctx") or {}).items()
        if isinstance(value, CONTEXT_TYPES)
    }
    found = {
        "loc": [_shown(part) for part in location],
        "msg": str(error["msg"])[:SHOWN_CHARACTERS],
        "type": error["type"],
        "url": f"{DOCS}#{error['type']}",
        "input": _shown(error.get("input")),
    }
    return found | ({"ctx": context} if context else {})


def _shown(value: object) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Return a value that is short, and that JSON and PostgreSQL can hold."""
    if value is None or isinstance(value, bool | int):
        return value if not isinstance(value, int) or abs(value) < 2**63 else str(value)[:40]
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    text = value if isinstance(value, str) else repr(value)
    text = text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"


def retry_headers(status: int) -> dict[str, str]:
    """Return the hints whether asking again may help, in fal's older and newer spelling."""
    again = status in RETRIED
    return {"X-Fal-Retryable": str(again).lower(), "X-Fal-Needs-Retry": str(int(again))}


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a request has no result, as its reader is told.

    Attributes:
        status: Of the answer to whoever asks for the result.
        detail: The `detail` of that answer: a text, or a list of complaints.
        code: fal's code where the platform is at fault; None where the input or the model is.
    """

    status: int
    detail: Any
    code: str | None = None

    @property
    def body(self) -> dict[str, Any]:
        """The answer, and the payload of a webhook."""
        return {"detail": self.detail} | ({"error_type": self.code} if self.code else {})

    @property
    def headers(self) -> dict[str, str]:
        """What an answer has beside its body."""
        found = retry_headers(self.status) | {"X-Fal-Billable-Units": "0"}
        if self.code is not None:
            found["X-Fal-Error-Type"] = self.code
        if self.code == REQUEST_TIMEOUT:
            found["X-Fal-Request-Timeout-Type"] = "user"
        return found

    @property
    def summary(self) -> str:
        """One line for the status."""
        if isinstance(self.detail, str):
            return self.detail
        return "; ".join(str(each["msg"]) for each in self.detail)


REQUEST_TIMEOUT = "request_timeout"
CANCELLED = Failure(status=499, detail="The request was cancelled", code="client_cancelled")
HIDDEN = "The model failed unexpectedly; the operator finds the cause under the request's id"
"""In place of an exception's text, which may name what is the operator's business."""

OF_THE_PLATFORM = {
    REQUEST_TIMEOUT: (504, REQUEST_TIMEOUT),
    "worker_lost": (503, "runner_disconnected"),
    "nobody_ready": (503, "runner_scheduling_failure"),
}
"""Our codes of what the platform did, with status and fal's code."""
OF_THE_MODEL = {
    "image_unreadable": (422, "image_load_error"),
    "image_too_large": (422, "image_too_large"),
    "image_too_small": (422, "image_too_small"),
    "object_too_large": (422, "file_too_large"),
    "object_missing": (422, "file_download_error"),
    "object_changed": (422, "file_download_error"),
    "access_denied": (422, "file_download_error"),
    "address_invalid": (422, "file_download_error"),
    "address_secret_wrong": (422, "file_download_error"),
    "file_missing": (422, "file_download_error"),
    "file_refused": (422, "file_download_error"),
    "url_refused": (422, "file_download_error"),
    "storage_refused": (422, "file_download_error"),
    "name_unresolved": (422, "file_download_error"),
    "storage_unavailable": (422, "file_download_error"),
    "content_refused": (422, "content_policy_violation"),
    "weights_refused": (422, "feature_not_supported"),
}
"""Our codes of what only a worker can find, with status and fal's type; see also `_fallback`."""
OF_A_FILE = ("object_", "access_", "storage_", "name_", "address_", "url_", "file_")
"""Codes that are the input's fault where a field is named, and the operator's store's elsewhere."""


def failure(state: JobState, error: Mapping[str, Any] | None) -> Failure:
    """Return why a job that ended without a result did so.

    Args:
        state: Failed, cancelled or rejected.
        error: The job's.
    """
    if state is JobState.CANCELLED:
        return CANCELLED
    found = error or {}
    if "detail" in found:
        return Failure(status=422, detail=found["detail"])
    code, field = str(found.get("code", "")), found.get("field")
    message = str(found.get("message", "")) or HIDDEN
    if code in OF_THE_PLATFORM:
        status, kind = OF_THE_PLATFORM[code]
        return Failure(status=status, detail=message, code=kind)
    status, kind = OF_THE_MODEL.get(code) or _fallback(found)
    if field is None and code.startswith(OF_A_FILE):
        status, kind = 500, "downstream_service_unavailable"
    if found.get("kind") == Kind.PROGRAM:
        message = HIDDEN
    return Failure(status=status, detail=[complaint(message, kind=kind, field=field)])


def _fallback(error: Mapping[str, Any]) -> tuple[int, str]:
    """Return status and type of an error that is not in the table."""
    if error.get("kind") == Kind.REQUEST:
        return 422, "value_error"
    return 500, "internal_server_error"
