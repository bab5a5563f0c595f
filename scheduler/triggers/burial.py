"""Messages that can't be understood: kept with the reason, tried again by command."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from scheduler.errors import EventInvalid
from scheduler.ledger import triggers
from scheduler.triggers import documents, intake
from scheduler.triggers.arrival import Arrival

BODY_CHARACTERS = 2**20
"""No source sends more: SQS has a limit of 1 MiB, the others have lower ones."""


def read(session: Session, body: str, *, source: str) -> Sequence[Arrival]:
    """Return a message's arrivals; what of it can't be understood is buried, with the reason."""
    try:
        document = documents.read(body)
    except EventInvalid as exc:
        bury(session, body, source=source, reason=str(exc))
        return ()
    for fault in document.faults:
        bury(session, fault.text, source=source, reason=fault.reason)
    return document.arrivals


def bury(session: Session, body: str, *, source: str, reason: str) -> None:
    """Keep a message for people to look at."""
    triggers.bury(
        session, source=source, reason=_storable(reason), body=_storable(body[:BODY_CHARACTERS])
    )


def retry(session: Session, ids: Sequence[int] | None) -> tuple[int, int]:
    """Try dead messages again: those with these ids, or all; what fails again is buried again.

    Returns:
        How many were tried, and how many jobs that made.
    """
    tried = triggers.exhume(session, ids)
    arrivals = [
        arrival for each in tried for arrival in read(session, each.body, source=each.source)
    ]
    return len(tried), intake.receive(session, arrivals)


def _storable(text: str) -> str:
    """Return a text with what PostgreSQL can't store made visible."""
    return text.replace("\0", "\\0").encode(errors="backslashreplace").decode()
