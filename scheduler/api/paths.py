"""Endpoint ids in paths: submissions name the full id, everything after that only its alias."""

from uuid import UUID

from scheduler.api.errors import RequestUnknown


def alias(endpoint: str) -> str:
    """Return the part of an endpoint's id that stands before `/requests/…`: owner and alias."""
    return "/".join(endpoint.split("/")[:2])


def names(path: str, endpoint: str) -> bool:
    """Tell whether the part of a path before `/requests/…` is meant for an endpoint."""
    return path in (alias(endpoint), endpoint)


def request_id(text: str) -> UUID:
    """Return the id that a path holds.

    Raises:
        RequestUnknown: It is none.
    """
    try:
        return UUID(text)
    except ValueError:
        raise unknown(text) from None


def unknown(text: object) -> RequestUnknown:
    """Return the error for an id of no request of this owner."""
    return RequestUnknown(f"request: {str(text)[:80]!r} is unknown", field="request_id")
