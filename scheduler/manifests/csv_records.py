"""CSV by its whole grammar: quoted commas, doubled quotes, line ends inside of quotes.

A record that breaks the grammar costs only the line that it begins on: reading goes on with the
next line, however many of them an unclosed quote had swallowed.
"""

import csv
from collections import deque
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from scheduler.errors import RowInvalid
from scheduler.manifests.lines import Line, numbered_lines
from scheduler.manifests.rows import Cursor

LINE_BYTES = 2**17
"""Longest line; Python's `csv` takes no longer field either."""
RECORD_LINES = 100
"""Most lines of a record: what an unclosed quote can swallow, and has to be read twice."""


class Record(NamedTuple):
    """One record that is not empty.

    Attributes:
        cells: Its fields; none where it has a fault.
        number: The line that it begins on, from 1.
        last: The line that it ends on, and where the next one begins, in bytes.
        data: Its bytes.
        fault: Why it is none.
    """

    cells: list[str]
    number: int
    last: Line
    data: bytes
    fault: str | None = None


def records(stream: BinaryIO, at: Cursor) -> Iterator[Record]:
    """Yield the stream's records; the arguments are those of `numbered_lines`."""
    lines = numbered_lines(stream, at, limit=LINE_BYTES)
    again: deque[Line] = deque()
    taken: list[Line] = []
    reader = csv.reader(_texts(again, lines, taken), strict=True)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, RowInvalid) as exc:
            # The first line is the bad one; the others are read anew.
            bad, *rest = taken
            yield Record([], bad.number, bad, bad.data, _fault(exc))
            again.extendleft(reversed(rest))
            reader = csv.reader(_texts(again, lines, taken), strict=True)
        else:
            if cells:
                first, last = taken[0], taken[-1]
                data = first.data if first is last else b"".join(line.data for line in taken)
                yield Record(cells, first.number, last, data)
        taken.clear()


def _texts(again: deque[Line], lines: Iterator[Line], taken: list[Line]) -> Iterator[str]:
    """Give lines to a `csv.reader`, which asks for no more than the record at hand needs.

    Args:
        again: Where they come from first.
        lines: And then.
        taken: What was given since somebody cleared it.
    """
    while line := again.popleft() if again else next(lines, None):
        taken.append(line)
        if len(taken) > RECORD_LINES:
            raise RowInvalid(
                f"the row goes on over more than {RECORD_LINES} lines; is a quote open?"
            )
        if b"\0" in line.data:
            reason = "the row holds a NUL character; remove it"
            raise RowInvalid(reason)
        yield line.text()


def _fault(exc: csv.Error | RowInvalid) -> str:
    return str(exc) if isinstance(exc, RowInvalid) else f"the row is no CSV: {exc}"
