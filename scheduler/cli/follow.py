"""A batch's progress on the terminal, and the words that it ends with."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import click

from scheduler.cli.addresses import readable

if TYPE_CHECKING:
    from scheduler.ledger.batches import Progress
    from scheduler.ledger.session import Ledger

POLL_S = 0.25
PATIENCE_S = 120.0
"""How long the ledger may be away before the terminal gives up; the work itself goes on."""


def follow(ledger: "Ledger", ids: Sequence[UUID]) -> list["Progress"]:
    """Show a bar until every batch has ended and its report is stored; return their counters.

    Raises:
        LedgerUnavailable: It was away for too long.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import (
        Progress as Bars,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("[red]{task.fields[failed]}[/red]"),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks = {id_: bars.add_task("reading", total=None, failed="", rate="") for id_ in ids}
        began = time.monotonic()
        first: dict[UUID, int] = {}
        while True:
            found = _progress(ledger, ids)
            for each in found:
                done = each.ended - first.setdefault(each.id, each.ended)
                rate = done / max(time.monotonic() - began, 1e-3)
                bars.update(
                    tasks[each.id],
                    description=_doing(each),
                    total=each.total if each.read_at else None,
                    completed=each.ended,
                    failed=f"{_bad(each)} failed" if _bad(each) else "",
                    rate=f"{rate:.1f}/s",
                )
            if all(each.reported_at is not None for each in found):
                return found
            time.sleep(POLL_S)


def _progress(ledger: "Ledger", ids: Sequence[UUID]) -> list["Progress"]:
    """Ask for the counters, for a while also of a ledger that is just restarting."""
    from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

    from scheduler.errors import LedgerUnavailable
    from scheduler.ledger import batches

    def ask() -> list["Progress"]:
        with ledger.begin() as session:
            return [batches.progress(session, id_) for id_ in ids]

    patient = Retrying(
        retry=retry_if_exception_type(LedgerUnavailable),
        stop=stop_after_delay(PATIENCE_S),
        wait=wait_fixed(1),
        reraise=True,
    )
    return patient(ask)


def _doing(progress: "Progress") -> str:
    """Name what a batch is at, in one word."""
    if progress.ended_at is not None:
        return "reporting" if progress.reported_at is None else str(progress.state)
    return "enlarging" if progress.total else "reading"


def _bad(progress: "Progress") -> int:
    return progress.failed + progress.rejected


def summary(progress: "Progress") -> str:
    """Say in one sentence what became of a batch."""
    parts = [f"{progress.succeeded} of {progress.total} enlarged"]
    for count, word in (
        (progress.failed, "failed"),
        (progress.rejected, "rejected"),
        (progress.cancelled, "cancelled"),
        (progress.skipped, "skipped"),
    ):
        if count:
            parts.append(f"{count} {word}")
    return ", ".join(parts)


def conclude(found: Sequence["Progress"]) -> bool:
    """Print where to look, and what to do about what failed; return whether all is well."""
    for each in found:
        place = readable(each.destination)
        click.echo(summary(each), err=True)
        if each.reason:
            click.echo(f"  {each.reason}", err=True)
        else:
            click.echo(f"{place}report.html")
            click.echo(f"{place}results.jsonl")
        if _bad(each):
            click.echo(f"  what failed, ready to be submitted again: {place}failed.jsonl", err=True)
    return all(_bad(each) == 0 and each.reason is None for each in found)
