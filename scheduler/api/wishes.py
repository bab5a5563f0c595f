"""What a submission says beside its body: fal's headers and query, and our `Idempotency-Key`."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import Headers

from scheduler.api.errors import HeaderInvalid
from scheduler.api.lifecycle import lifetime_s
from scheduler.api.tries import tries
from scheduler.errors import UrlRefused
from scheduler.guard import parse_url

PRIORITY = "x-fal-queue-priority"
START = "x-fal-request-timeout"
KEY = "idempotency-key"
LENGTH = "fal_max_queue_length"
PRIORITIES = {"normal": 0, "low": -10}
"""fal's two, in the numbers of `Feed`: what is low waits behind all that is normal."""
SHORTEST_START_S = 0.1
LONGEST_S = 10 * 365 * 24 * 3600.0
KEY_CHARACTERS = 255
COUNT = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """How a request is to be treated.

    Attributes:
        priority: Of its feed.
        start_within_s: It fails unless it has started by then.
        tries: How often it may be tried in all; None for the operator's choice.
        kept: Whether its input and its result are kept once the result was delivered.
        idempotency_key: The same key is the same request.
        webhook: Who is told of its end.
        max_queue_length: It is refused where more than so many wait at its endpoint.
        lifetime_s: How long its files stay; None for the operator's choice.
    """

    priority: int = 0
    start_within_s: float | None = None
    tries: int | None = None
    kept: bool = True
    idempotency_key: str | None = None
    webhook: str | None = None
    max_queue_length: int | None = None
    lifetime_s: float | None = None


def read(headers: Headers, query: Mapping[str, str]) -> Wishes:
    """Return the wishes that headers and query express.

    Raises:
        HeaderInvalid: One of them can't be understood; the error names it.
    """
    return Wishes(
        priority=_priority(headers.get(PRIORITY, "normal")),
        start_within_s=_start(headers.get(START)),
        tries=tries(headers),
        kept=headers.get("x-fal-store-io", "").strip() != "0",
        idempotency_key=_key(headers.get(KEY)),
        webhook=_webhook(query.get("fal_webhook")),
        max_queue_length=_count(query.get(LENGTH)),
        lifetime_s=lifetime_s(headers),
    )


def _priority(value: str) -> int:
    name = value.strip().lower()
    if name not in PRIORITIES:
        raise _invalid(PRIORITY, value, "must be normal or low")
    return PRIORITIES[name]


def _start(value: str | None) -> float | None:
    if value is None:
        return None
    seconds = _number(value)
    if seconds is None or not SHORTEST_START_S <= seconds <= LONGEST_S:
        reason = f"must be a number of seconds, {SHORTEST_START_S} or more"
        raise _invalid(START, value, reason)
    return seconds


def _number(value: str) -> float | None:
    try:
        found = float(value)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _key(value: str | None) -> str | None:
    if value is None:
        return None
    if not value.isprintable() or not 0 < len(value) <= KEY_CHARACTERS:
        reason = f"must have 1 to {KEY_CHARACTERS} printable characters"
        raise _invalid(KEY, value, reason)
    return value


def _webhook(value: str | None) -> str | None:
    if value is None:
        return None
    try:
        parse_url(value)
    except UrlRefused as exc:
        raise HeaderInvalid(f"fal_webhook: {exc}", field="fal_webhook") from exc
    return value


def _count(value: str | None) -> int | None:
    if value is None:
        return None
    if COUNT.fullmatch(value) is None:
        raise _invalid(LENGTH, value, "must be a whole number, 0 or more")
    return int(value)


def _invalid(name: str, value: str, reason: str) -> HeaderInvalid:
    return HeaderInvalid(f"{name}: {value[:80]!r} {reason}", field=name)
