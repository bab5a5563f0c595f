"""Results go by age where that is asked for, and nothing else does."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from scheduler.discarding import Discarder
from scheduler.ledger import batches, jobs, periods, rows
from scheduler.ledger.jobs import Ending
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.loop import settle
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage
from tests.factories import make_batch, make_row
from tests.scheduler.test_jobs import queue
from tests.scheduler.test_retention import OLD, prune

DAY = 24 * 3600.0


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return open_storage(settings)


def stored(storage: Storage, folder: Path, name: str) -> dict[str, Any]:
    """Store a result and return what an outcome holds of it."""
    address = (folder / name).as_uri()
    data = name.encode()
    made = storage.write(address, data, content_type="image/png")
    return {"address": address, "etag": made.etag, "size_bytes": len(data)}


def make_ended(
    ledger: Ledger, storage: Storage, folder: Path, *, days_ago: float = 31, **overrides: Any
) -> UUID:
    """Make a batch of three rows with their results, that ended some days ago."""
    folder.mkdir()
    given = [make_row(line, destination=(folder / f"{line}.png").as_uri()) for line in range(1, 4)]
    batch = make_batch(ledger, given, **overrides)
    endings = [
        Ending(
            ticket=ticket,
            state=JobState.SUCCEEDED,
            outcome=json.dumps({"objects": [stored(storage, folder, f"{number}.png")]}),
        )
        for number, ticket in enumerate(queue(ledger, batch), start=1)
    ]
    with ledger.begin() as session:
        jobs.finish(session, endings, from_states=[JobState.QUEUED])
    settle(ledger)
    with ledger.begin() as session:
        session.execute(
            text(
                "update batches set ended_at = ended_at - :ago, reported_at = now() where id = :id"
            ),
            {"id": batch, "ago": timedelta(days=days_ago)},
        )
    return batch


def discard_all(ledger: Ledger, storage: Storage, settings: Settings) -> None:
    discarder = Discarder(ledger, storage, settings, keep_s=30 * DAY)
    while discarder.step():
        pass


def names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def test_old_results_go_and_young_ones_and_the_batch_s_rows_stay(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    old = make_ended(ledger, storage, tmp_path / "old")
    make_ended(ledger, storage, tmp_path / "young", days_ago=29)
    (tmp_path / "old" / "results.jsonl").write_text("the report")

    discard_all(ledger, storage, settings)

    assert names(tmp_path / "old") == ["results.jsonl"]
    assert len(names(tmp_path / "young")) == 3
    with ledger.begin() as session:
        assert batches.get(session, old).discarded_at is not None
        assert len(rows.page(session, old, after=0, limit=9)) == 3


def test_what_was_there_before_or_was_written_since_or_is_a_source_stays(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    batch = make_ended(ledger, storage, tmp_path / "old")
    make_ended(ledger, storage, tmp_path / "in place", options=json.dumps({"in_place": True}))
    with ledger.begin() as session:
        session.execute(
            text(
                "update jobs set outcome = outcome || '{\"existing\": true}'"
                " where batch_id = :id and line = 1"
            ),
            {"id": batch},
        )
    storage.write(
        (tmp_path / "old" / "2.png").as_uri(), b"of somebody else", content_type="image/png"
    )

    discard_all(ledger, storage, settings)

    assert names(tmp_path / "old") == ["1.png", "2.png"]
    assert len(names(tmp_path / "in place")) == 3


def test_rows_that_name_results_stay_until_those_are_gone(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    make_ended(ledger, storage, tmp_path / "old", id=OLD)
    keep = {"keep_jobs_s": DAY, "keep_results_s": 30 * DAY}

    assert prune(ledger, settings, **keep) == []
    discard_all(ledger, storage, settings)

    assert prune(ledger, settings, **keep) == [(periods.period_of(OLD), True)]


def test_what_may_not_be_deleted_stays_and_does_not_stop_the_rest(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    batch = make_ended(ledger, storage, tmp_path / "old")
    (tmp_path / "old" / "1.png").unlink()
    with ledger.begin() as session:
        session.execute(
            text(
                "update jobs set outcome = jsonb_set(outcome, '{objects,0,address}', '\"x://y\"')"
                " where batch_id = :id and line = 2"
            ),
            {"id": batch},
        )

    discard_all(ledger, storage, settings)

    assert names(tmp_path / "old") == ["2.png"]
