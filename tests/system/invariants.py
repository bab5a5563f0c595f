"""What must hold of every batch that ended, whatever happened on the way."""

import json
from collections import Counter
from io import BytesIO
from typing import Any
from uuid import UUID

from PIL import Image
from sqlalchemy import text

from scheduler.ledger.tables import ENDED, JobState
from tests.system.system import System

SCALE = 2


def check_all_succeeded(system: System, batch: UUID) -> None:
    """Check a batch of good pictures: everything below, and that none failed."""
    check_invariants(system, batch)
    unlucky = [(row.line, row.state, row.error) for row in system.rows(batch) if row.error]
    states = {row.state for row in system.rows(batch)}
    assert states == {JobState.SUCCEEDED}, unlucky


def check_invariants(system: System, batch: UUID) -> None:
    """Check that every row has one outcome, once, and that all that is kept of it agrees."""
    rows = check_accounts(system, batch)
    _check_objects(system, rows)


def check_accounts(system: System, batch: UUID) -> list[Any]:
    """Check that all that is kept of a batch agrees, whatever its jobs stored; return its rows."""
    rows = system.rows(batch)
    _check_lines(rows)
    _check_counters(system, batch, rows)
    _check_events(system, batch, rows)
    _check_reports(system, batch, rows)
    return rows


def _check_lines(rows: list[Any]) -> None:
    assert [row.line for row in rows] == list(range(1, len(rows) + 1)), "lines skipped or doubled"
    unended = [(row.line, row.state) for row in rows if row.state not in ENDED]
    assert not unended, "rows without outcome"


def _check_counters(system: System, batch: UUID, rows: list[Any]) -> None:
    progress = system.progress(batch)
    counted = Counter(row.state for row in rows)
    said = {state: getattr(progress, state) for state in ENDED}
    assert progress.total == len(rows)
    assert said == {state: counted[state] for state in ENDED}
    assert progress.bytes_out == sum(each["size_bytes"] for row in rows for each in objects(row))


def _check_events(system: System, batch: UUID, rows: list[Any]) -> None:
    with system.ledger.begin() as session:
        found = session.execute(
            text("select job_id, type from events where batch_id = :id and job_id is not null"),
            {"id": batch},
        )
        events = Counter((row.job_id, row.type) for row in found)
    assert events == Counter((row.id, f"job.{row.state}") for row in rows), "events and outcomes"


def _check_objects(system: System, rows: list[Any]) -> None:
    """Decode every result and compare it with what its own source should become."""
    for row in rows:
        if row.state != JobState.SUCCEEDED:
            assert not objects(row)
            continue
        (stored,) = objects(row)
        assert stored["address"] == row.destination
        data = system.read(row.destination)
        assert len(data) == stored["size_bytes"], f"line {row.line}"
        assert enlarged(system.read(row.source)) == decoded(data), f"line {row.line}"


def objects(row: Any) -> list[dict[str, Any]]:
    """Return what a row says that it stored."""
    return [] if row.outcome is None else row.outcome["objects"]


def decoded(data: bytes) -> tuple[tuple[int, int], bytes]:
    """Return the size and the pixels of a whole picture."""
    with Image.open(BytesIO(data)) as image:
        return image.size, image.convert("RGB").tobytes()


def enlarged(data: bytes) -> tuple[tuple[int, int], bytes]:
    """Return the size and the pixels of what a picture should become."""
    with Image.open(BytesIO(data)) as image:
        size = (image.width * SCALE, image.height * SCALE)
        result = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        return size, result.tobytes()


def _check_reports(system: System, batch: UUID, rows: list[Any]) -> None:
    destination = system.progress(batch).destination
    results = lines(system, f"{destination}results.jsonl")
    assert Counter(line["line"] for line in results) == Counter(row.line for row in rows)
    assert {line["line"]: line["state"] for line in results} == {r.line: r.state for r in rows}


def lines(system: System, address: str) -> list[dict[str, Any]]:
    """Return the rows of a file of JSON lines."""
    return [json.loads(line) for line in system.read(address).splitlines()]
