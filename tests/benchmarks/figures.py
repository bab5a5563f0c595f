"""What a benchmark returns, and the table that shows it."""

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table.

    Attributes:
        name: What was measured.
        measured: The value, with its unit.
        baseline: What it is compared with, measured in the same run.
        ratio: The one over the other.
        target: What to reach; empty where the figure is only stated.
        met: Whether it was reached; None where there is no target.
    """

    name: str
    measured: str
    baseline: str = ""
    ratio: str = ""
    target: str = ""
    met: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one benchmark found: its figures, and what a reader must know about them."""

    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()


VERDICTS = {None: "", True: "[green]ok[/]", False: "[red]short[/]"}


def show(reports: Iterable[Report], console: Console) -> None:
    """Print one table of all figures, and the notes below it."""
    table = Table(show_lines=True)
    for heading in ("figure", "measured", "baseline, same run", "ratio", "target", ""):
        table.add_column(heading, overflow="fold")
    notes: list[str] = []
    for report in reports:
        for figure in report.figures:
            table.add_row(
                figure.name,
                figure.measured,
                figure.baseline,
                figure.ratio,
                figure.target,
                VERDICTS[figure.met],
            )
        notes += report.notes
    console.print(table)
    for note in notes:
        console.print(f"- {note}", highlight=False)


def load() -> str:
    """Return the machine's load average over the last minute."""
    return f"{os.getloadavg()[0]:.1f}"


def megabytes(size_bytes: int) -> str:
    """Spell a size for people."""
    return f"{size_bytes / 1e6:.0f} MB"


def percentile(values: Iterable[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
