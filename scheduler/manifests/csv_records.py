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
    feed = _Feed(numbered_lines(stream, at, limit=LINE_BYTES))
    reader = csv.reader(feed, strict=True)
    while True:
        feed.taken.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, RowInvalid) as exc:
            bad = feed.give_back_all_but_one()
            yield Record([], bad.number, bad, bad.data, _fault(exc))
            reader = csv.reader(feed, strict=True)
            continue
        if cells:
            data = b"".join(line.data for line in feed.taken)
            yield Record(cells, feed.taken[0].number, feed.taken[-1], data)


def _fault(exc: csv.Error | RowInvalid) -> str:
    return str(exc) if isinstance(exc, RowInvalid) else f"the row is no CSV: {exc}"


class _Feed:
    """Gives lines to a `csv.reader`, which asks for no more than the record at hand needs."""

    def __init__(self, lines: Iterator[Line]) -> None:
        self._lines = lines
        self._again: deque[Line] = deque()
        self.taken: list[Line] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(line)
        if len(self.taken) > RECORD_LINES:
            raise RowInvalid(
                f"the row goes on over more than {RECORD_LINES} lines; is a quote open?"
            )
        if b"\0" in line.data:
            reason = "the row holds a NUL character; remove it"
            raise RowInvalid(reason)
        return line.text()

    def give_back_all_but_one(self) -> Line:
        """Keep the record's first line as the bad one, and read the others anew."""
        bad, *rest = self.taken
        self._again.extendleft(reversed(rest))
        return bad
