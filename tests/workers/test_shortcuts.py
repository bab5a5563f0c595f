"""What is done already is not done again: results that are there, and attempts that had stored."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from models.catalog import find
from scheduler.ledger import batches
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.report import results
from scheduler.settings import Settings
from tests.factories import make_batch, make_row
from tests.workers.real import PHOTO, again, only, real_rig, submit

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

SKIP = {"skip_existing": True}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where the result of `submit` goes."""
    (tmp_path / "out").mkdir()
    return tmp_path / "out" / "result.png"


def test_a_row_whose_result_is_there_is_done_without_its_source(
    ledger: Ledger, settings: Settings, tmp_path: Path, place: Path
) -> None:
    place.write_bytes(b"whatever")
    batch = submit(ledger, tmp_path, PHOTO, options=SKIP, source="file:///nowhere/at-all.png")

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))

    row = only(ledger, batch)
    assert (row.state, row.error) == (JobState.SUCCEEDED, None)
    assert row.outcome is not None
    assert row.outcome["existing"] is True
    assert row.outcome["body"]["image"]["file_size"] == 8
    assert place.read_bytes() == b"whatever"
    with ledger.begin() as session:
        found = batches.progress(session, batch)
    assert (found.succeeded, found.existing, found.reused, found.bytes_out) == (1, 1, 0, 0)
    (line,) = results.lines(ledger, batch)
    assert '"existing": true' in line


@pytest.mark.parametrize("second", [b"second", b""], ids=["whole", "cut short"])
def test_of_several_images_each_must_be_there(
    ledger: Ledger, settings: Settings, tmp_path: Path, second: bytes
) -> None:
    zoom = find("fal-ai/chain-of-zoom")
    batch = submit(
        ledger,
        tmp_path,
        PHOTO,
        options=SKIP,
        endpoint=zoom.id,
        pipeline=zoom.id,
        arguments='{"scale": 2}',
        source="file:///nowhere/at-all.png",
    )
    (tmp_path / "out" / "result").mkdir(parents=True)
    for name, data in (("00", b"first"), ("01", second)):
        (tmp_path / "out" / "result" / f"{name}.jpg").write_bytes(data)

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch, pipeline=zoom.id))

    row = only(ledger, batch)
    if not second:
        assert row.error is not None, "it went on to its source"
        assert row.error["code"] == "object_missing"
        return
    assert (row.state, row.error) == (JobState.SUCCEEDED, None)
    assert row.outcome is not None
    assert [each["size_bytes"] for each in row.outcome["objects"]] == [5, 6]
    assert [each["file_name"] for each in row.outcome["body"]["images"]] == ["00.jpg", "01.jpg"]


@pytest.mark.parametrize("options", [SKIP, {}], ids=["empty object", "not asked for"])
def test_what_is_there_does_not_count_if_it_is_empty_or_nobody_asked(
    ledger: Ledger, settings: Settings, tmp_path: Path, place: Path, options: dict[str, bool]
) -> None:
    place.write_bytes(b"" if options else b"old")
    batch = submit(ledger, tmp_path, PHOTO, options=options)

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))

    row = only(ledger, batch)
    assert row.outcome is not None
    assert "existing" not in row.outcome
    assert place.read_bytes().startswith(b"\x89PNG")


def test_what_an_earlier_attempt_stored_is_its_own_result_and_no_other_s(
    ledger: Ledger, settings: Settings, tmp_path: Path, place: Path
) -> None:
    batch = submit(ledger, tmp_path, PHOTO, options=SKIP)

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))
        again(ledger, batch)
        it.run(it.queue(batch))
        mine = only(ledger, batch).outcome
        place.write_bytes(b"somebody else's")
        again(ledger, batch)
        it.run(it.queue(batch))
        theirs = only(ledger, batch).outcome

    assert mine is not None
    assert theirs is not None
    assert ("existing" in mine, mine["body"]["image"]["width"]) == (False, 60)
    assert theirs["existing"] is True


def test_in_place_a_source_that_is_a_result_is_left_alone_and_one_that_is_none_is_enlarged(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    place = tmp_path / "in.png"
    given = {"destination": place.as_uri(), "options": SKIP | {"in_place": True}}

    with real_rig(ledger, settings) as it:
        first = submit(ledger, tmp_path, PHOTO, **given)
        it.run(it.queue(first))
        enlarged = place.read_bytes()
        second = submit(ledger, tmp_path, enlarged, **given)
        it.run(it.queue(second))

    one, other = only(ledger, first).outcome, only(ledger, second).outcome
    assert one is not None
    assert other is not None
    assert ("existing" in one, "existing" in other) == (False, True)
    assert place.read_bytes() == enlarged != PHOTO


def test_in_a_bucket_a_look_is_enough(
    ledger: Ledger, settings: Settings, s3_url: str, bucket: str, s3_client: "S3Client"
) -> None:
    settings = settings.model_copy(
        update={"s3_endpoint_url": s3_url, "s3_addressing_style": "path"}
    )
    s3_client.put_object(Bucket=bucket, Key="out/a.png", Body=b"there", ContentType="image/png")
    row = make_row(1, source=f"s3://{bucket}/a.png", destination=f"s3://{bucket}/out/a.png")
    batch = make_batch(ledger, [row], options='{"skip_existing": true}')

    with real_rig(ledger, settings) as it:
        it.run(it.queue(batch))

    outcome = only(ledger, batch).outcome
    assert outcome is not None
    assert outcome["body"]["image"]["content_type"] == "image/png"
