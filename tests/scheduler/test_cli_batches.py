"""The commands about batches, against a ledger with real rows."""

import json
from pathlib import Path
from uuid import UUID

import pytest

from models.catalog import ENDPOINTS
from scheduler.ledger import batches, feeds, jobs, requests
from scheduler.ledger.feeds import Feed
from scheduler.ledger.jobs import Ending, Ticket
from scheduler.ledger.periods import job_id
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from scheduler.steering import Steerer
from tests.factories import ENDPOINT, make_batch, make_rejected, make_row, make_worker
from tests.scheduler.command import enlarger


@pytest.fixture
def batch(ledger: Ledger) -> UUID:
    """A batch of four rows, of which one failed and one was rejected."""
    rows = [make_row(1), make_row(2), make_rejected(3), make_row(4)]
    found = make_batch(ledger, rows)
    error = {"code": "image_unreadable", "kind": "request", "message": "it is a cake"}
    with ledger.begin() as session:
        ending = Ending(
            ticket=Ticket(job_id(found, 2), 0), state=JobState.FAILED, error=json.dumps(error)
        )
        jobs.finish(session, [ending], from_states=(JobState.WAITING,))
    return found


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_status_shows_the_batches(settings: Settings, ledger: Ledger, batch: UUID) -> None:
    over_http = Feed(name=requests.FEED, endpoint=ENDPOINT, destination="s3://files/results/")
    with ledger.begin() as session:
        feeds.append(session, over_http, [make_row(0)])

    answer = enlarger("status", settings=settings)

    assert answer.code == 0
    assert batch.hex[-8:] in answer.out
    assert "2/4" in answer.out
    assert "/photos/" in answer.out
    assert "requests" in answer.out


def test_status_on_a_narrow_terminal_is_a_line_for_each_figure(
    settings: Settings, batch: UUID
) -> None:
    answer = enlarger("status", settings=settings, FORCE_COLOR="1", COLUMNS="40")

    assert {f"batch        {batch.hex[-8:]}", "done         2/4"} <= set(answer.out.splitlines())
    assert max(map(len, answer.out.splitlines())) <= 40


def test_status_of_one_batch_is_json_for_a_script(settings: Settings, batch: UUID) -> None:
    found = enlarger("status", str(batch), "--json", settings=settings).json()

    assert (found["id"], found["state"]) == (str(batch), "open")
    assert (found["total"], found["failed"], found["rejected"], found["ended"]) == (4, 1, 1, 2)


@pytest.mark.parametrize("piece", [slice(None), slice(-6, None), slice(0, 30)])
def test_a_batch_is_found_by_a_piece_of_its_id(
    settings: Settings, batch: UUID, piece: slice
) -> None:
    found = enlarger("status", batch.hex[piece], "--json", settings=settings).json()

    assert found["id"] == str(batch)


@pytest.mark.parametrize(
    ("piece", "words"),
    [("abc", "too short"), ("zzzzzzzz", "is unknown"), ("00000000", "is unknown")],
)
def test_an_id_that_finds_nothing_says_why(settings: Settings, piece: str, words: str) -> None:
    answer = enlarger("status", piece, settings=settings)

    assert answer.code == 1
    assert words in answer.err


def test_a_piece_that_fits_several_ids_is_refused(settings: Settings, ledger: Ledger) -> None:
    one, other = make_batch(ledger, 1), make_batch(ledger, 1)
    common = one.hex[:8]
    assert other.hex.startswith(common), "ids begin with the time"

    answer = enlarger("status", common, settings=settings)

    assert answer.code == 1
    assert "fits several" in answer.err


def test_results_are_one_line_of_json_a_row(settings: Settings, batch: UUID) -> None:
    answer = enlarger("results", batch.hex[-8:], settings=settings)

    assert [(row["line"], row["state"]) for row in lines(answer.out)] == [
        (1, "waiting"),
        (2, "failed"),
        (3, "rejected"),
        (4, "waiting"),
    ]


def test_results_can_be_only_what_failed(settings: Settings, batch: UUID) -> None:
    answer = enlarger("results", batch.hex[-8:], "--failed", settings=settings)

    assert [row["line"] for row in lines(answer.out)] == [2, 3]
    assert "it is a cake" in answer.out


def test_retry_prints_how_many_wait_again(settings: Settings, ledger: Ledger, batch: UUID) -> None:
    answer = enlarger("retry", str(batch), "--failed", settings=settings)

    assert (answer.code, answer.out) == (0, "1\n")
    with ledger.begin() as session:
        assert batches.get(session, batch).retrying == ["failed"]


def test_cancel_lets_nothing_more_start(settings: Settings, ledger: Ledger, batch: UUID) -> None:
    first = enlarger("cancel", str(batch), settings=settings)
    second = enlarger("cancel", str(batch), settings=settings)

    assert (first.code, first.err) == (0, "Cancelled.\n")
    assert (second.code, second.err) == (0, "There was nothing left to cancel.\n")
    with ledger.begin() as session:
        assert batches.progress(session, batch).state == "cancelled"


def test_submit_prints_the_id_and_the_same_again_is_the_same(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"not looked at here")
    order = ("submit", str(tmp_path / "photos"), "--to", str(tmp_path / "out"), "--set", "scale=3")

    first = enlarger(*order, settings=settings)
    second = enlarger(*order, "--json", settings=settings)
    forced = enlarger(*order, "--again", "--json", settings=settings)

    id_ = first.out.strip()
    assert (first.code, first.err) == (0, "")
    assert second.json() == {"batch": id_, "new": False}
    assert "--again" in second.err
    assert forced.json()["new"]
    with ledger.begin() as session:
        found = batches.get(session, UUID(id_))
        assert (found.arguments["scale"], found.source) == (
            3.0,
            (tmp_path / "photos").as_uri() + "/",
        )


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("scale=99", "scale: 99 is not allowed; it must be a number from 1 to 8"),
        ("scale=big", 'scale: "big" is not allowed'),
        ("scael=2", "did you mean scale"),
        ("output_format=gif", "one of png, jpg, webp"),
    ],
)
def test_a_bad_argument_is_refused_before_anything_is_queued(
    settings: Settings, tmp_path: Path, assignment: str, words: str
) -> None:
    order = ("submit", str(tmp_path), "--to", str(tmp_path / "out"), "--set", assignment)

    answer = enlarger(*order, settings=settings)

    assert answer.code == 1
    assert words.replace('"', "'") in answer.err.replace('"', "'")


def test_watch_follows_a_batch_to_its_end_and_tells_what_failed(
    settings: Settings, ledger: Ledger, batch: UUID
) -> None:
    with ledger.begin() as session:
        batches.cancel(session, batch)
    Steerer(ledger).step()
    with ledger.begin() as session:
        batches.fold(session)
        batches.end_complete(session)
        batches.reported(session, batches.get(session, batch))

    answer = enlarger("watch", str(batch), settings=settings)

    assert answer.code == 1
    assert "0 of 4 enlarged, 1 failed, 1 rejected, 2 cancelled" in answer.err
    assert "/photos/2.png: it is a cake" in answer.err
    assert f"enlarger retry {batch.hex[-8:]}" in answer.err
    assert answer.out.splitlines() == ["/results/report.html", "/results/results.jsonl"]


def test_names_cannot_drive_the_terminal(settings: Settings, ledger: Ledger) -> None:
    make_batch(ledger, 1, source="s3://photos/\x1b[31mred\u202e/")

    answer = enlarger("status", settings=settings)

    assert "\x1b" not in answer.out
    assert "\u202e" not in answer.out


def test_a_database_without_tables_says_what_to_run(
    settings: Settings, empty_database_url: str
) -> None:
    empty = {"ENLARGER_DATABASE_URL": empty_database_url}

    before = enlarger("status", settings=settings, **empty)
    pending = enlarger("db", "check", settings=settings, **empty)
    upgraded = enlarger("db", "upgrade", settings=settings, **empty)
    after = enlarger("db", "check", settings=settings, **empty)

    assert (before.code, "enlarger db upgrade" in before.err) == (1, True)
    assert (pending.code, "enlarger db upgrade" in pending.err) == (1, True)
    assert (upgraded.code, after.code) == (0, 0)


def test_workers_are_listed(settings: Settings, ledger: Ledger) -> None:
    make_worker(ledger, name="gpu-host:7")

    table = enlarger("workers", settings=settings)
    found = enlarger("workers", "--json", settings=settings).json()

    assert "gpu-host:7" in table.out
    assert ENDPOINT in table.out
    assert [(each["name"], each["ready"]) for each in found] == [("gpu-host:7", [ENDPOINT])]


def test_endpoints_say_what_they_take_and_who_is_ready(settings: Settings, ledger: Ledger) -> None:
    make_worker(ledger, name="gpu-host:7")

    every = enlarger("endpoints", "--json", settings=settings).json()
    one = enlarger("endpoints", ENDPOINT, settings=settings)

    assert {each["id"]: each["ready"] for each in every} == {
        endpoint: ["gpu-host:7"] if endpoint == ENDPOINT else [] for endpoint in ENDPOINTS
    }
    assert all("image_url" in each["schema"]["properties"] for each in every)
    assert "a number from 0.1 to 16" in one.out
    assert "ready on gpu-host:7" in one.out


def test_endpoints_can_be_read_without_any_system() -> None:
    answer = enlarger("endpoints", "enlarger/lanczos")

    assert answer.code == 0
    assert "one of png, jpg, webp" in answer.out
    assert "no system is running" in answer.err
