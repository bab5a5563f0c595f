"""What commands print: data to standard output, talk to standard error, names made harmless."""

import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click

from scheduler.storage.address import parse_address

UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters could drive the terminal, marks of direction could disguise a name."""
PIPED_WIDTH = 10_000
NARROW = 72
"""Fewer characters in a line than the tables' columns need."""


def say(message: str) -> None:
    """Tell the user something that is not part of the data."""
    click.echo(printable(message, keep="\n"), err=True)


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Print one JSON value on one line; times in ISO 8601."""
    click.echo(json.dumps(value, ensure_ascii=False, default=_plain))


def _plain(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def printable(text: str, *, keep: str = "") -> str:
    """Return a text with what a terminal would obey or hide replaced."""
    return UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else "\ufffd", text)


def readable(address: str) -> str:
    """Return an address as people write it.

    A local one is its path, relative to the working folder where that is shorter. The batch of a
    day's requests has no address for its source, but a name, which stays as it is.
    """
    if "://" not in address:
        return printable(address)
    place = parse_address(address)
    if place.scheme != "file":
        return printable(address)
    relative = os.path.relpath(place.key)
    slash = "/" if place.is_folder else ""
    return printable(min(place.key, relative + slash, key=len))


def print_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table; on a terminal it fits the width, elsewhere nothing is folded.

    On a terminal too narrow for columns, each row becomes lines of a title and a value.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    if console.width < NARROW:
        _print_records(titles, rows)
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell, keep="\n")) for cell in row))
    console.print(table)


def _print_records(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    width = max(map(len, titles)) + 2
    for row in rows:
        for title, cell in zip(titles, row, strict=True):
            lines = printable(cell, keep="\n").split("\n")
            click.echo(title.ljust(width) + ("\n" + " " * width).join(lines))
        click.echo()


def duration(seconds: float) -> str:
    """Return a span of time in its two largest units."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {rest} s"
    days, hours_left = divmod(hours, 24)
    return f"{days} d {hours_left} h" if days > 1 else f"{hours} h {minutes} min"


def moment(when: datetime) -> str:
    """Return a time as this machine's clock has it."""
    return when.astimezone().isoformat(sep=" ", timespec="seconds")


def ago(moment: datetime) -> str:
    """Return how long ago something was."""
    return f"{duration(max(0.0, (datetime.now(UTC) - moment).total_seconds()))} ago"


def gibibytes(count: int) -> str:
    """Return an amount of memory."""
    return f"{count / 2**30:.1f} GiB"
