"""How often a client wants a request to be tried, as fal's clients say it in headers."""

import json
from typing import Any

from starlette.datastructures import Headers

from scheduler.api.errors import HeaderInvalid

NEVER_AGAIN = "x-fal-no-retry"
CONFIG = "x-fal-retry-config"
CONDITIONS = ("server_error", "timeout", "connection_error")
MOST_RETRIES = 10
TRUE = ("1", "true", "yes")


def tries(headers: Headers) -> int | None:
    """Return how often a request may be tried in all; None for the operator's choice.

    The ledger counts all failures of the world together, so of several conditions the one with the
    most retries decides.

    Raises:
        HeaderInvalid: The configuration is no JSON of fal's kind.
    """
    if headers.get(NEVER_AGAIN, "").strip().lower() in TRUE:
        return 1
    told = headers.get(CONFIG)
    if told is None:
        return None
    try:
        config = json.loads(told)
        told_of = [config.get(name) for name in CONDITIONS]
        wanted = [each["retries"] for each in told_of if each is not None]
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as exc:
        msg = "it is no JSON object with the retries of conditions"
        raise _invalid(msg) from exc
    if not all(_is_count(each) for each in wanted):
        raise _invalid(f"retries must be whole numbers from 0 to {MOST_RETRIES}")
    return max(wanted) + 1 if wanted else None


def _is_count(value: Any) -> bool:  # noqa: ANN401 - JSON
    return type(value) is int and 0 <= value <= MOST_RETRIES


def _invalid(why: str) -> HeaderInvalid:
    conditions = ", ".join(CONDITIONS)
    reason = f'{CONFIG}: {why}; write {{"server_error": {{"retries": 2}}}} ({conditions})'
    return HeaderInvalid(reason, field=CONFIG)
