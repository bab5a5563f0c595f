"""Following batches to their end, and the words that it ends with."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import click

from scheduler.cli.batch import all_well, as_dict, short, summary, unsuccessful
from scheduler.cli.display import Display, display
from scheduler.cli.output import print_json, printable, readable, say
from scheduler.pace import Pace

if TYPE_CHECKING:
    from scheduler.cli.connection import System
    from scheduler.desk import Desk, Failure
    from scheduler.ledger.batches import Progress

POLL_S = 0.25
PATIENCE_S = 120.0
"""How long the ledger may be away before the terminal gives up; the work itself goes on."""
IDLE_S = 10.0
"""After so long without any row done, look whether there is anybody to do it."""
SHOWN_FAILURES = 5
WEBHOOKS_S = 20.0


def follow(desk: "Desk", ids: Sequence[UUID]) -> list["Progress"]:
    """Show progress until every batch has ended and its report is stored; return their counters.

    Raises:
        WorldError: The ledger, or the API in front of it, was away for too long.
        SystemStopped: Another command ran the system, and was stopped.
    """
    paces = {id_: Pace() for id_ in ids}
    with display() as shown:
        watched = Watched(desk, shown)
        while True:
            found = watched.look(ids)
            shown.update([paces[each.id].look(each) for each in found])
            if all(each.reported_at is not None for each in found):
                return found
            time.sleep(POLL_S)


def see_off(system: "System", ids: Sequence[UUID]) -> None:
    """Wait, but not for long, until every webhook of the batches was tried once.

    For a system that ends with its command. What fails is kept, and sent by the next run.
    """
    from scheduler.ledger import delivery_records

    until = time.monotonic() + WEBHOOKS_S
    while True:
        with system.ledger.begin() as session:
            if not delivery_records.untried(session, ids):
                break
        if time.monotonic() > until:
            break
        time.sleep(POLL_S)
    with system.ledger.begin() as session:
        left = delivery_records.counts(session).undelivered
    if left:
        say(f"{left:,} webhook messages are still to be sent; the next run goes on with them.")


class Watched:
    """The counters, asked for with patience, and a word when nobody works on them."""

    def __init__(self, desk: "Desk", shown: Display) -> None:
        self._desk = desk
        self._shown = shown
        self._ended = -1
        self._moved = time.monotonic()

    def look(self, ids: Sequence[UUID]) -> list["Progress"]:
        """Return the counters; wait for a ledger that is just restarting."""
        from scheduler.errors import ApiUnavailable, LedgerUnavailable

        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                found = self._desk.progress(ids)
            except (LedgerUnavailable, ApiUnavailable) as exc:
                if time.monotonic() > until:
                    raise
                self._shown.note(f"{exc}; waiting")
                time.sleep(2)
            else:
                self._notice_idleness(found)
                return found

    def _notice_idleness(self, found: Sequence["Progress"]) -> None:
        """Say why nothing moves, each time that it has not moved for a while."""
        ended = sum(each.ended for each in found)
        if ended != self._ended:
            self._ended, self._moved = ended, time.monotonic()
        elif time.monotonic() - self._moved > IDLE_S:
            self._moved = time.monotonic() + 3 * IDLE_S
            waiting = {each.endpoint for each in found if each.ended_at is None}
            for endpoint in sorted(waiting - set(self._desk.ready())):
                self._shown.note(
                    f"no worker is ready for {endpoint}; `enlarger endpoints {endpoint}` says why"
                )


def conclude(desk: "Desk", found: Sequence["Progress"], *, as_json: bool) -> bool:
    """Say where to look, and what to do about what failed; return whether all is well."""
    for each in found:
        if as_json:
            print_json(as_dict(each))
        else:
            _conclude_one(desk, each)
    return all(all_well(each) for each in found)


def _conclude_one(desk: "Desk", batch: "Progress") -> None:
    say(f"{readable(batch.source)}: {summary(batch)}")
    if batch.reason:
        say(f"  {batch.reason}")
    _tell_failures(desk, batch)
    if batch.reported_at is not None and not (batch.reason or "").startswith("no report"):
        place = readable(batch.destination)
        click.echo(f"{place}report.html")
        click.echo(f"{place}results.jsonl")


def _name(row: "Failure") -> str:
    """Return what a person knows a row by: its source, and for a bad one its line."""
    source = readable(row.source) if row.source else ""
    return f"line {row.line} {source}".strip() if row.state == "rejected" else source


def _tell_failures(desk: "Desk", batch: "Progress") -> None:
    """Show the first failures, and how to see and retry them all."""
    count = unsuccessful(batch)
    if not count:
        return
    first = desk.failures(batch.id, limit=SHOWN_FAILURES)
    for row in first:
        say(f"  {_name(row)}: {printable(row.reason)}")
    if count > len(first):
        say(f"  and {count - len(first):,} more: enlarger results {short(batch.id)} --failed")
    if batch.failed or batch.cancelled:
        say(f"  Try again with: enlarger retry {short(batch.id)}")
