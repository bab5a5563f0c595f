"""Estimates: what is sampled, what is concluded, and what is left behind, which is nothing."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from scheduler.cli.estimate import show
from scheduler.estimate import figures, sample, trial
from scheduler.estimate.figures import Fleet, estimate, wilson
from scheduler.ledger import batches, rows
from scheduler.ledger.rows import RowRecord
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.manifests import Rejected, Row, Skipped
from scheduler.settings import Settings
from scheduler.storage import open_storage
from scheduler.submission import Order, source_of
from tests.factories import ENDPOINT

NOW = datetime(2026, 11, 24, tzinfo=UTC)
ALONE = Fleet(workers=1, fetch_threads=1, store_threads=1)


def entry(line: int) -> Row:
    return Row(line=line, source=f"s3://photos/{line}.png", cursor={"line": line})


def make_ran(line: int, *, worker: str = "host:1", **timings: float) -> RowRecord:
    outcome = {"objects": [{"size_bytes": 1000}], "timings": timings, "worker": worker}
    return record(line, JobState.SUCCEEDED, outcome=outcome)


def record(line: int, state: JobState, **overrides: Any) -> RowRecord:
    fields: dict[str, Any] = dict.fromkeys(RowRecord.__dataclass_fields__)
    fields |= {"id": UUID(int=line), "line": line, "state": state, "failures": 0, "arguments": {}}
    fields |= {"started_at": NOW, "ended_at": NOW + timedelta(seconds=line)}
    return RowRecord(**fields | overrides)


def test_all_rows_are_counted_and_each_is_as_likely_in_the_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bad = Rejected(line=1, field="source", reason="", text="", cursor={})
    marker = Skipped(line=2, source="s3://photos/", reason="", cursor={})
    seen: Counter[int] = Counter()
    for seed in range(400):
        monkeypatch.setattr(sample, "SEED", seed)
        drawn = sample.draw([bad, marker, *map(entry, range(3, 43))], 10)
        lines = [row.line for row in drawn.rows]
        assert (drawn.total, drawn.rejected, len(lines)) == (40, 1, 10)
        assert lines == sorted(set(lines))
        seen.update(lines)

    assert set(seen) == set(range(3, 43))
    assert 60 < min(seen.values()) <= max(seen.values()) < 145  # 100 each, and five deviations


def test_a_small_source_is_its_own_sample() -> None:
    drawn = sample.draw(map(entry, range(1, 4)), 10)

    assert [row.line for row in drawn.rows] == [1, 2, 3]


@pytest.mark.parametrize(
    ("slow", "expected"), [("decode_s", 0.5), ("device_s", 4.0), ("encode_s", 1.0)]
)
def test_the_slowest_stage_sets_the_pace(slow: str, expected: float) -> None:
    quick = {"fetch_s": 0.1, "device_s": 0.1, "store_s": 0.1}
    ran = [make_ran(line, **quick | {slow: 4.0}) for line in range(9)]
    fleet = Fleet(workers=2, fetch_threads=8, store_threads=4)

    found = estimate(ran, rows=1000, rejected=7, fleet=fleet, warm={"host:1"})

    assert found.worker_s.likely == pytest.approx(1000 * expected, rel=0.03)
    assert found.duration_s.likely == found.worker_s.likely / 2
    assert (found.rows, found.rejected, found.sampled) == (1000, 7, 9)
    assert found.bytes_out.likely == 1_000_000


def test_the_truth_lies_within_the_range_about_nine_times_in_ten() -> None:
    chance = random.Random(1)
    within = 0
    for _ in range(60):
        drawn = [chance.lognormvariate(0, 0.8) for _ in range(40)]
        ran = [make_ran(line, device_s=took) for line, took in enumerate(drawn)]
        found = estimate(ran, rows=1, rejected=0, fleet=ALONE, warm={"host:1"}).worker_s
        within += found.low <= 1.3771 <= found.high  # the mean: exp(0.8² / 2)

    assert 45 <= within < 60


def test_people_get_a_table_and_the_method(capsys: pytest.CaptureFixture[str]) -> None:
    found = estimate([make_ran(1, device_s=36.0)], rows=1000, rejected=2, fleet=ALONE)

    show(found, found.worker_s.times(2.5 / 3600))

    out, err = capsys.readouterr()
    table = [line.split() for line in out.splitlines()]
    assert ["worker", "hours", *["10.00"] * 3] in table
    assert ["bytes", *["1", "MB"] * 3] in table
    assert ["cost", *["25.00"] * 3] in table
    assert "1 of 1,000 images were run, 2 rows would be rejected. With 1 worker" in err
    assert "bootstrap" in err


def test_what_loaded_the_model_is_left_out_of_the_times() -> None:
    shared = [make_ran(line, device_s=30.0) for line in (1, 2)]  # one call, which loaded
    cold = [*shared, make_ran(3, device_s=0.5), make_ran(4, worker="b:1", device_s=0.5)]

    found = estimate(cold, rows=100, rejected=0, fleet=ALONE, warm={"b:1"})

    assert found.worker_s == figures.Range(likely=50, low=50, high=50)
    assert figures.settled(shared, warm=()) == shared, "better a high figure than none"


def test_no_failure_in_a_sample_is_no_promise() -> None:
    failed = record(3, JobState.FAILED, error={"code": "image_unreadable"})

    assert wilson(0, 30).low == 0
    assert 0.05 < wilson(0, 30).high < 0.12
    found = estimate([make_ran(1, device_s=1.0), failed], rows=10, rejected=0, fleet=ALONE)
    assert (found.failures.likely, found.bytes_out.likely) == (5, 5000)
    assert found.failures.low > 0


def test_a_sample_that_is_given_up_is_cancelled_and_touches_no_row_s_own_destination(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "STOP_S", 0.0)
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text(f'{{"source": "{tmp_path.as_uri()}/a.png", "destination": "dear.png"}}')
    order = Order(source=manifest.as_uri(), destination=tmp_path.as_uri(), endpoint=ENDPOINT)
    source = source_of(open_storage(Settings()), order)
    place = trial.scratch(order.destination)
    at = trial.Trial(ledger=ledger, order=order, source=source, place=place)
    seen: list[UUID] = []

    def interrupted(ids: Sequence[UUID]) -> None:
        seen.extend(ids)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        at.run(sample.draw(source.rows(None), 5).rows, interrupted)

    with ledger.begin() as session:
        (row,) = rows.page(session, seen[0], after=0, limit=9)
        state = batches.progress(session, seen[0]).state
    assert state == "cancelled"
    assert row.destination is not None
    assert row.destination.startswith(f"{tmp_path.as_uri()}/.enlarger-estimate-")
    assert "dear" not in row.destination
