"""From messages to jobs, whoever brings them: a queue, a list, or a request over HTTP."""

import traceback
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from models.errors import WorldError
from scheduler.ledger.session import Ledger
from scheduler.triggers import burial, intake

log = structlog.get_logger()


class Message(NamedTuple):
    """What somebody sent, and where it came from, for people who look at a dead one."""

    body: str
    source: str


def take(ledger: Ledger, messages: Sequence[Message]) -> int:
    """Commit the jobs of all messages together; return how many that are.

    What can't be understood is buried. Where a bug of ours prevents the commit, each message is
    taken by itself, and the one that meets the bug is buried with the traceback: else it would come
    again for ever, and nothing behind it.

    Raises:
        LedgerUnavailable: Nothing happened, or only some of it; take all of them again.
    """
    try:
        return _commit(ledger, messages)
    except WorldError:
        raise
    except Exception as exc:  # noqa: BLE001 - a bug of ours, whatever it be
        if len(messages) > 1:
            return sum(take(ledger, [message]) for message in messages)
        _bury_broken(ledger, messages[0], exc)
        return 0


def _commit(ledger: Ledger, messages: Sequence[Message]) -> int:
    with ledger.begin() as session:
        arrivals = [
            arrival
            for message in messages
            for arrival in burial.read(session, message.body, source=message.source)
        ]
        return intake.receive(session, arrivals)


def _bury_broken(ledger: Ledger, message: Message, exc: Exception) -> None:
    log.error("event.broken", source=message.source, error=repr(exc))
    trace = "".join(traceback.format_exception(exc))
    reason = f"event: taking it met a bug, please report it:\n{trace}"
    with ledger.begin() as session:
        burial.bury(session, message.body, source=message.source, reason=reason)
