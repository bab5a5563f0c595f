"""What a report may have beside its usual files."""

from collections.abc import Iterable
from typing import Protocol

from scheduler.ledger.rows import RowRecord


class Further(Protocol):
    """A part of a report that is written row by row, into the report's temporary folder."""

    def add(self, row: RowRecord) -> None:
        """Write one row; they come by line."""
        ...

    def finish(self) -> Iterable[tuple[str, str]]:
        """Close the files; yield each one's name, also below the destination, and media type."""
        ...
