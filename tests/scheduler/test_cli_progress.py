from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from scheduler.cli.batch import all_well, summary
from scheduler.cli.display import describe
from scheduler.cli.output import duration, printable, readable
from scheduler.cli.run import nothing_begun
from scheduler.cli.sources import targets
from scheduler.ledger.batches import Progress
from scheduler.ledger.tables import BatchState
from scheduler.manifests import open_source
from scheduler.pace import WINDOW_S, Pace
from scheduler.settings import Settings
from scheduler.storage import address_of, open_storage

NOW = datetime(2026, 11, 21, tzinfo=UTC)


class Clock:
    """Shows the time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def make_progress(**overrides: Any) -> Progress:
    fields: dict[str, Any] = {
        "id": uuid7(),
        "state": BatchState.OPEN,
        "source": "file:///photos/",
        "destination": "file:///results/",
        "endpoint": "enlarger/lanczos",
        "reason": None,
        "created_at": NOW,
        "read_at": NOW,
        "ended_at": None,
        "reported_at": None,
        "total": 100,
        "bytes_out": 0,
        "device_s": 0.0,
    }
    counters = dict.fromkeys(
        ("succeeded", "failed", "cancelled", "rejected", "skipped", "existing", "reused"), 0
    )
    return Progress(**fields | counters | overrides)


def test_the_rate_is_that_of_the_last_seconds_and_not_of_the_wait_before() -> None:
    clock = Clock()
    pace = Pace(clock)
    for second in range(60):
        clock.now = second
        pace.look(make_progress())

    clock.now = 62
    first = pace.look(make_progress(succeeded=9))

    assert first.rate == pytest.approx(9 / 3)
    assert first.left_s == pytest.approx(91 / 3)


def test_the_rate_forgets_what_was_long_ago() -> None:
    clock = Clock()
    pace = Pace(clock)
    for second in range(100):
        clock.now = second
        slow = pace.look(make_progress(succeeded=min(second * 2, 50) + second // 50, total=1000))

    assert slow.rate < 1 / WINDOW_S + 0.01


def test_nobody_knows_what_is_left_while_the_source_is_read() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.look(make_progress(read_at=None))
    clock.now = 1

    standing = pace.look(make_progress(read_at=None, succeeded=10))

    assert (standing.rate, standing.left_s) == (10.0, None)
    assert describe(standing) == "10/100+ done, 10.0/s"


def test_a_standing_says_done_failed_rate_and_time() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.look(make_progress())
    clock.now = 10

    standing = pace.look(make_progress(succeeded=15, failed=3, rejected=2))

    assert describe(standing) == "20/100 done, 5 failed, 2.0/s, 40 s left"


def test_cancelled_is_not_failed() -> None:
    standing = Pace(Clock()).look(make_progress(succeeded=1, failed=2, cancelled=30))

    assert describe(standing) == "33/100 done, 2 failed, 30 cancelled"


def test_an_ended_batch_is_first_reported_then_finished() -> None:
    pace = Pace(Clock())
    ended = make_progress(succeeded=100, ended_at=NOW, state=BatchState.FINISHED)

    assert describe(pace.look(ended)).endswith("writing the report")
    assert describe(pace.look(replace(ended, reported_at=NOW))).endswith("finished")


def test_the_summary_names_only_what_there_is() -> None:
    assert summary(make_progress(succeeded=100)) == "100 of 100 enlarged"
    assert summary(make_progress(failed=1, skipped=2)) == "0 of 100 enlarged, 1 failed, 2 left out"


def test_nothing_is_left_to_do_only_where_all_is_well() -> None:
    done = make_progress(succeeded=100, state=BatchState.FINISHED)

    assert nothing_begun([done]).startswith("Nothing is left")
    assert "without a result for each" in nothing_begun([done, make_progress(cancelled=1)])


def test_a_source_that_could_not_be_read_to_its_end_is_not_all_well() -> None:
    assert all_well(make_progress(succeeded=100, state=BatchState.FINISHED))
    assert not all_well(make_progress(succeeded=100, state=BatchState.UNREADABLE))
    assert not all_well(make_progress(rejected=1))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3599.6, "1 h 0 min"),
        (36 * 3600, "36 h 0 min"),
        (3 * 86400, "3 d 0 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_addresses_are_shown_as_paths_without_tricks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert readable(address_of("a b/ü.png")) == "a b/ü.png"
    assert readable("file:///elsewhere/") == "/elsewhere/"
    assert readable("s3://bucket/a%20b") == "s3://bucket/a%20b"
    assert readable("file:///x%1B%5B31m%FF") == "/x\ufffd[31m\ufffd"
    assert printable("a\u202eb\nc") == "a\ufffdb\ufffdc"


def test_one_source_goes_right_to_the_destination(tmp_path: Path) -> None:
    assert targets(tmp_path, ["s3://a/b/"], "file:///out") == [("s3://a/b/", "file:///out")]


def test_several_sources_get_folders_of_their_own_and_never_the_same(tmp_path: Path) -> None:
    sources = ["s3://a/photos/", "s3://b/photos/", "s3://c/rows.jsonl", "s3://d", "s3://a/photos/"]

    assert targets(tmp_path, sources, "s3://out/x") == [
        ("s3://a/photos/", "s3://out/x/photos/"),
        ("s3://b/photos/", "s3://out/x/photos-2/"),
        ("s3://c/rows.jsonl", "s3://out/x/rows.jsonl/"),
        ("s3://d/", "s3://out/x/d/"),
    ]


def test_several_images_are_one_batch_and_the_same_one_again(tmp_path: Path) -> None:
    images = [str(tmp_path / "a.jpg"), str(tmp_path / "b.PNG")]

    [(manifest, place)] = targets(tmp_path / "home", images, "file:///out/")
    again = targets(tmp_path / "home", images, "file:///out/")

    assert again == [(manifest, "file:///out/")] == [(manifest, place)]
    rows = open_source(open_storage(Settings()), manifest).rows()
    assert [row.source for row in rows] == [address_of(image) for image in images]


def test_images_beside_folders_get_a_folder_too(tmp_path: Path) -> None:
    found = targets(tmp_path, [str(tmp_path / "a.jpg"), "s3://a/images/"], "s3://out/")

    assert [place for _, place in found] == ["s3://out/images/", "s3://out/images-2/"]
