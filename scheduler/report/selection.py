"""Which rows of a batch the contact sheet shows: the first ones, and the first that failed."""

from dataclasses import dataclass, field

from scheduler.ledger.rows import RowRecord
from scheduler.ledger.tables import JobState

PICTURES = 200
"""Most pictures on a sheet; some 75 KB each."""
FAILURES = 100
"""Most failed rows on a sheet."""


@dataclass(kw_only=True)
class Selection:
    """The chosen rows, in the order of the manifest."""

    pictures: list[RowRecord] = field(default_factory=list)
    failures: list[RowRecord] = field(default_factory=list)

    def add(self, row: RowRecord) -> None:
        """Keep a row if there is still room for its kind."""
        if row.state == JobState.SUCCEEDED and len(self.pictures) < PICTURES:
            self.pictures.append(row)
        elif row.state in (JobState.FAILED, JobState.REJECTED) and len(self.failures) < FAILURES:
            self.failures.append(row)
