"""Questions about a batch's rows, asked for reports: they are read page by page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Result, text
from sqlalchemy.orm import Session

from scheduler.ledger.periods import MAX_LINE, job_id
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState

PAGE_ROWS = 2000
UNSUCCESSFUL = (JobState.FAILED, JobState.CANCELLED, JobState.REJECTED)
"""How a row can end without a result."""


@dataclass(frozen=True, kw_only=True)
class RowRecord:
    """One row of a batch and what became of it, as the ledger has it."""

    id: UUID
    line: int
    state: JobState
    source: str | None
    source_version: str | None
    source_alternative: str | None = None
    destination: str | None
    custom_id: str | None
    endpoint: str
    arguments: dict[str, Any]
    passthrough: dict[str, Any] | None
    seed: int | None
    failures: int
    started_at: datetime | None
    ended_at: datetime | None
    outcome: dict[str, Any] | None
    error: dict[str, Any] | None

    @property
    def objects(self) -> list[dict[str, Any]]:
        """What it stored: addresses, sizes and checksums."""
        found: list[dict[str, Any]] = (self.outcome or {}).get("objects", [])
        return found

    @property
    def input(self) -> dict[str, Any]:
        """What is known of the picture it read; empty where it has no result."""
        found: dict[str, Any] = (self.outcome or {}).get("input") or {}
        return found

    @property
    def existing(self) -> bool:
        """Whether its result was there before, whatever it is."""
        return "existing" in (self.outcome or {})

    @property
    def read_from(self) -> str | None:
        """Where its picture was found: the source, or that one's other reading."""
        return self.input.get("address", self.source)

    @property
    def reused_from(self) -> str | None:
        """The job of an earlier batch that its result is a copy of the result of."""
        found: str | None = (self.outcome or {}).get("reused_from")
        return found

    @property
    def weights(self) -> dict[str, str] | None:
        """The digests of the weights that made it, by file; None where none did."""
        found: dict[str, str] | None = (self.outcome or {}).get("weights")
        return found

    @property
    def notes(self) -> dict[str, Any] | None:
        """What the model had to say about its result, such as a caption; None for nothing."""
        found: dict[str, Any] | None = (self.outcome or {}).get("notes")
        return found

    @property
    def made_with(self) -> int | None:
        """The seed that made its result: of a copy the first job's, else its own."""
        found: int | None = (self.outcome or {}).get("body", {}).get("seed", self.seed)
        return found

    @property
    def worker(self) -> str | None:
        """The worker that ended it; None where none did."""
        found: str | None = (self.outcome or {}).get("worker")
        return found

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by stage, such as `fetch_s`; empty where it has no result."""
        found: dict[str, float] = (self.outcome or {}).get("timings", {})
        return found

    @property
    def device_s(self) -> float | None:
        """How long the device worked on it; None where it has no result."""
        return self.timings.get("device_s")

    @property
    def total_s(self) -> float | None:
        """How long its last attempt took, from claim to outcome; None where there was none."""
        if self.started_at is None or self.ended_at is None:
            return None
        return round((self.ended_at - self.started_at).total_seconds(), 3)


_COLUMNS = (
    "id, line, state, source, source_version, source_alternative, destination, custom_id,"
    " endpoint, arguments, passthrough, seed, failures, started_at, ended_at, outcome, error"
)
_NAMED = text(f"select {_COLUMNS} from jobs where id = any(:ids)")  # noqa: S608 - constants


def named(session: Session, ids: Sequence[UUID]) -> dict[UUID, RowRecord]:
    """Return the rows with these ids, of whichever batches; those that are gone are left out."""
    found = _records(session.execute(_NAMED, {"ids": list(ids)}))
    return {record.id: record for record in found}


_PAGE = text(f"""
select {_COLUMNS}
from jobs
where id > :after_id and id <= :last_id
    and (cast(:states as text[]) is null or state = any(:states))
order by id limit :limit
""")  # noqa: S608 - made of constants


def page(
    session: Session,
    batch_id: UUID,
    *,
    after: int,
    limit: int,
    states: Sequence[JobState] | None = None,
) -> list[RowRecord]:
    """Return the next rows of a batch behind line `after`, by line; only those in `states`."""
    found = session.execute(
        _PAGE,
        {
            "after_id": job_id(batch_id, after),
            "last_id": job_id(batch_id, MAX_LINE),
            "limit": limit,
            "states": None if states is None else [str(state) for state in states],
        },
    )
    return _records(found)


def _records(found: Result[Any]) -> list[RowRecord]:
    names = list(found.keys())
    states = {str(state): state for state in JobState}
    given = [dict(zip(names, row, strict=True)) for row in found]
    return [RowRecord(**{**row, "state": states[row["state"]]}) for row in given]


def stream(
    ledger: Ledger, batch_id: UUID, *, states: Sequence[JobState] | None = None
) -> Iterator[RowRecord]:
    """Yield a batch's rows by line, in constant memory and without a long transaction."""
    after = 0
    while True:
        with ledger.begin() as session:
            rows = page(session, batch_id, after=after, limit=PAGE_ROWS, states=states)
        yield from rows
        if len(rows) < PAGE_ROWS:
            return
        after = rows[-1].line
