"""How fal's protocol spells what became of a job: error shapes, codes, headers. Pure functions.

Used by the answers of the API and by the payloads of webhooks, which must be the same.
"""

from collections.abc import Mapping
from typing import Any

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
