"""When a message is tried again, and what an answer means. Pure functions."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum

from scheduler.ledger.webhook_tables import Style

WAITS_S = {
    # 10 tries over 2 h 8 min or more: fal's page says "10 over 2 hours".
    Style.FAL: (15, 60, 120, 300, 600, 900, 1200, 1800, 2700),
    # 9 tries over 27 h 35 min or more: Svix's schedule, with a second quick one.
    Style.OURS: (5, 30, 300, 1800, 7200, 18_000, 36_000, 36_000),
}
"""Seconds from a failed try to the next one; after the last of them the message is dead."""
JITTER = 0.2
"""Waits are longer by up to this part, so that what failed together doesn't come back together."""
LATER_TRIES = {Style.FAL: 8, Style.OURS: 1}
"""So many times longer than the first try the later ones may take: fal has 15 s, then 120 s."""
LONGEST_TRY = max(LATER_TRIES.values())
LONGEST_WAIT_S = 86_400.0
"""More than a day, nobody makes us wait."""
GONE = 410
PAUSE_AFTER_S = 86_400.0
PAUSE_AFTER_FAILURES = 10
"""A subscription that failed for so long, so often, and never succeeded meanwhile, is paused."""


class Verdict(StrEnum):
    """What a try comes to."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """To be tried again by the schedule."""
    REFUSED = "refused"
    """To be tried no more."""
    GONE = "gone"
    """To be tried no more, and nothing else either."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came of one try.

    Attributes:
        status: The HTTP status; None where there was no answer.
        text: The beginning of the answer's body, or what went wrong.
        retry_after: The header of that name, as it came.
        seconds: How long it took.
    """

    status: int | None
    text: str
    retry_after: str | None = None
    seconds: float = 0.0


def judge(style: Style, answer: Answer) -> Verdict:
    """Tell what an answer means: 2xx is success, and 410 the end of a subscription.

    A redirect is never followed: it would lead around the check of the address. fal gives up on
    one; we try again, as somebody will mend the consumer or the URL.
    """
    status = answer.status
    if status is None:
        return Verdict.FAILED
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if status == GONE:
        return Verdict.GONE
    if style is Style.FAL and 300 <= status < 400:
        return Verdict.REFUSED
    return Verdict.FAILED


def wait_s(
    style: Style, failures: int, answer: Answer, *, now: datetime, random: Callable[[], float]
) -> float | None:
    """Return the seconds until the next try, or None where the last one has failed.

    Args:
        style: Whose schedule.
        failures: Failed tries, this one included.
        answer: What came of it; a Retry-After of up to a day is honoured where it is longer.
        now: For a Retry-After that is a date.
        random: Draws from [0, 1).
    """
    waits = WAITS_S[style]
    if failures > len(waits):
        return None
    scheduled = waits[failures - 1] * (1 + JITTER * random())
    return max(scheduled, min(_retry_after_s(answer.retry_after, now), LONGEST_WAIT_S))


def _retry_after_s(value: str | None, now: datetime) -> float:
    """Read the header in both of its forms (RFC 9110, section 10.2.3); 0 where it is neither."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())


def timeout_s(style: Style, failures: int, *, first_s: float) -> float:
    """Return how long a try may take, from the connection to the end of the answer.

    Args:
        style: Whose schedule.
        failures: Tries that have failed before.
        first_s: How long a first try may take.
    """
    return first_s * (LATER_TRIES[style] if failures else 1)
