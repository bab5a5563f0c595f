"""Progress on standard error: bars for a terminal, a line now and then for a log."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from scheduler.cli.batch import short
from scheduler.cli.output import duration, readable, say
from scheduler.pace import Standing

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from scheduler.ledger.batches import Progress as Counters

LINE_EVERY_S = 10.0


class Display(Protocol):
    """Something that shows where batches stand."""

    def update(self, standings: Sequence[Standing]) -> None:
        """Show the newest look."""
        ...

    def note(self, message: str) -> None:
        """Say something beside it."""
        ...


@contextmanager
def display() -> Iterator[Display]:
    """Yield what suits standard error."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines()
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[standing]}", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield Bars(progress)


class Bars:
    """One bar a batch."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._tasks: dict[UUID, TaskID] = {}

    def update(self, standings: Sequence[Standing]) -> None:
        """Move the bars."""
        from rich.markup import escape

        for standing in standings:
            counters = standing.progress
            if counters.id not in self._tasks:
                name = escape(readable(counters.source))
                self._tasks[counters.id] = self._progress.add_task(name, total=None, standing="")
            self._progress.update(
                self._tasks[counters.id],
                total=counters.total if counters.read_at else None,
                completed=counters.ended,
                standing=describe(standing),
            )

    def note(self, message: str) -> None:
        """Print above the bars."""
        self._progress.console.print(message, markup=False, style="dim")


class Lines:
    """A line a batch, when something has changed and the last line is a while ago."""

    def __init__(self) -> None:
        self._said: dict[UUID, tuple[str, float]] = {}

    def update(self, standings: Sequence[Standing]) -> None:
        """Print what is worth a line."""
        for standing in standings:
            counters = standing.progress
            line = f"{short(counters.id)}: {describe(standing)}"
            last, at = self._said.get(counters.id, ("", 0.0))
            is_due = time.monotonic() - at >= LINE_EVERY_S
            if line != last and (is_due or counters.ended_at is not None):
                self._said[counters.id] = (line, time.monotonic())
                say(line)

    def note(self, message: str) -> None:
        """Print a line."""
        say(message)


def describe(standing: Standing) -> str:
    """Say where a batch stands: done, failed, rate and what is left of the time."""
    counters = standing.progress
    if counters.total == 0 and counters.ended_at is None:
        return "reading"
    parts = [f"{counters.ended:,}/{counters.total:,}{'' if counters.read_at else '+'} done"]
    if counters.failed + counters.rejected:
        parts.append(f"{counters.failed + counters.rejected:,} failed")
    if counters.cancelled:
        parts.append(f"{counters.cancelled:,} cancelled")
    if counters.ended_at is not None:
        return ", ".join([*parts, _ending(counters)])
    if standing.rate:
        parts.append(f"{standing.rate:.1f}/s")
    if standing.left_s is not None:
        parts.append(f"{duration(standing.left_s)} left")
    return ", ".join(parts)


def _ending(counters: "Counters") -> str:
    return "writing the report" if counters.reported_at is None else str(counters.state)
