"""How long a client wants a file to stay, as fal's clients say it in a header."""

import json

from starlette.datastructures import Headers

from scheduler.api.errors import HeaderInvalid

NAMES = ("x-fal-object-lifecycle-preference", "x-fal-object-lifecycle")
FIELD = "expiration_duration_seconds"
LONGEST_S = 10 * 366 * 24 * 3600


def lifetime_s(headers: Headers) -> float | None:
    """Return for how many seconds a file is wanted; None where nothing is said.

    Who may read it can't be chosen: whoever has its address may.

    Raises:
        HeaderInvalid: The header is no JSON object, or its number won't do.
    """
    told = next((headers[name] for name in NAMES if name in headers), None)
    if told is None:
        return None
    try:
        wanted = json.loads(told)
        seconds = wanted.get(FIELD)
    except (ValueError, AttributeError, RecursionError) as exc:
        msg = "it is no JSON object"
        raise _invalid(msg) from exc
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise _invalid(f"{FIELD} is no number")
    if not 0 < seconds <= LONGEST_S:
        raise _invalid(f"{FIELD} must be above 0 and at most {LONGEST_S}")
    return float(seconds)


def _invalid(why: str) -> HeaderInvalid:
    reason = f'{NAMES[0]}: {why}; write {{"{FIELD}": 3600}}'
    return HeaderInvalid(reason, field=NAMES[0])
