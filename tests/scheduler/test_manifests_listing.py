import json
import os
from pathlib import Path

import pytest

from scheduler.errors import AddressInvalid, SourceUnreadable
from scheduler.manifests import Rejected, Row, Skipped, Source, open_source
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage
from scheduler.storage.address import file_address
from tests.faulty_http import faulty_http


@pytest.fixture
def storage(s3_url: str) -> Storage:
    return open_storage(Settings(s3_endpoint_url=s3_url, s3_addressing_style="path"))


def at(path: Path) -> str:
    return str(file_address(str(path)))


def fill(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names(source: Source, folder: str) -> list[str]:
    return [row.source.removeprefix(folder).lstrip("/") for row in source.rows()]


def test_a_folder_gives_the_images_below_it_in_order(tmp_path, storage):
    fill(tmp_path, "b.JPG", "a/c.png", "a/notes.txt", "a.tiff", ".DS_Store", ".x/d.jpg", "e.avif")

    source = open_source(storage, at(tmp_path))

    source.check()
    assert names(source, at(tmp_path)) == ["a.tiff", "a/c.png", "b.JPG", "e.avif"]
    assert [row.line for row in source.rows()] == [1, 2, 3, 4]
    assert source.roots == (at(tmp_path) + "/",)
    assert source.kind == "listing"


def test_a_prefix_gives_the_same_as_the_folder_that_it_is_a_copy_of(
    tmp_path, storage, s3_client, bucket
):
    fill(tmp_path, "b.JPG", "a/c.png", "a-b.jpg", "a0.jpg", "a/notes.txt", "\u00e9 ?.webp")
    for path in sorted(tmp_path.rglob("*.*")):
        key = f"in/{path.relative_to(tmp_path)}"
        s3_client.put_object(Bucket=bucket, Key=key, Body=path.read_bytes())

    local = open_source(storage, at(tmp_path))
    remote = open_source(storage, f"s3://{bucket}/in")

    found = names(remote, f"s3://{bucket}/in/")
    assert found == ["a-b.jpg", "a/c.png", "a0.jpg", "b.JPG", "\u00e9 ?.webp"]
    assert [at(tmp_path / name) for name in found] == [row.source for row in local.rows()]


def test_folder_markers_and_empty_objects_are_skipped_with_a_reason(storage, s3_client, bucket):
    for key, body in (("in/", b""), ("in/a/", b""), ("in/a/b.jpg", b"x"), ("in/c.jpg", b"")):
        s3_client.put_object(Bucket=bucket, Key=key, Body=body)
    source = open_source(storage, f"s3://{bucket}/in/")

    marker, row, empty = source.rows()

    assert isinstance(marker, Skipped)
    assert (marker.source, marker.reason) == (f"s3://{bucket}/in/a/", "a folder marker")
    assert isinstance(row, Row)
    assert isinstance(empty, Skipped)
    assert (empty.line, empty.reason) == (3, "an empty object")
    assert [type(item) for item in source.rows(marker.cursor)] == [Row, Skipped]


def test_an_empty_local_image_is_a_row_whose_job_will_say_so(tmp_path, storage):
    (tmp_path / "empty.jpg").touch()

    (row,) = open_source(storage, at(tmp_path)).rows()

    assert isinstance(row, Row)


@pytest.mark.parametrize(
    ("include", "exclude", "expected"),
    [
        (["*.txt"], [], ["a/notes.txt"]),
        (["*"], [], ["a.jpg", "a/c.png", "a/notes.txt", "b.jpg"]),
        (["a/*"], [], ["a/c.png", "a/notes.txt"]),
        ([], ["a/*"], ["a.jpg", "b.jpg"]),
        (["?.jpg"], ["b*"], ["a.jpg"]),
        (["[ab].jpg", "c.png"], [], ["a.jpg", "a/c.png", "b.jpg"]),
    ],
)
def test_globs_choose_by_name_or_by_path(tmp_path, storage, include, exclude, expected):
    fill(tmp_path, "a.jpg", "b.jpg", "a/c.png", "a/notes.txt")

    source = open_source(storage, at(tmp_path), include=include, exclude=exclude)

    assert names(source, at(tmp_path)) == expected


def test_reading_goes_on_behind_any_row(tmp_path, storage):
    fill(tmp_path, "a/1.jpg", "a/2.jpg", "a/x/3.jpg", "a-b.jpg", "c.jpg", "\u00e9 %.jpg")
    source = open_source(storage, at(tmp_path))
    items = list(source.rows())

    assert len(items) == 6
    for index, item in enumerate(items):
        cursor = json.loads(json.dumps(item.cursor))
        assert list(source.rows(cursor)) == items[index + 1 :]


def test_a_prefix_is_read_on_behind_any_row(storage, s3_client, bucket):
    for key in ("p/a%20.jpg", "p/a b.jpg", "p/b+c.jpg", "p/q?x.jpg", "p//z.jpg", "p/\u00e9.jpg"):
        s3_client.put_object(Bucket=bucket, Key=key, Body=b"x")
    source = open_source(storage, f"s3://{bucket}/p")
    items = list(source.rows())

    assert len(items) == 6
    for index, item in enumerate(items):
        assert list(source.rows(item.cursor)) == items[index + 1 :]


def test_the_version_of_a_folder_changes_with_its_images_and_with_nothing_else(tmp_path, storage):
    fill(tmp_path, "a.jpg", "notes.txt")
    before = open_source(storage, at(tmp_path)).version()
    fill(tmp_path, "more notes.txt")
    same = open_source(storage, at(tmp_path)).version()
    (tmp_path / "a.jpg").write_bytes(b"longer")
    changed = open_source(storage, at(tmp_path)).version()
    fill(tmp_path, "b.jpg")
    more = open_source(storage, at(tmp_path)).version()

    assert before == same
    assert len({before, changed, more}) == 3


def test_results_below_the_source_are_no_sources(tmp_path, storage):
    fill(tmp_path, "a.jpg", "results/a.png", "results2/b.jpg")

    inside = open_source(storage, at(tmp_path), destination=at(tmp_path / "results"))
    itself = open_source(storage, at(tmp_path), destination=at(tmp_path))

    assert names(inside, at(tmp_path)) == ["a.jpg", "results2/b.jpg"]
    assert len(names(itself, at(tmp_path))) == 3


def test_a_folder_without_images_is_refused(tmp_path, storage, s3_client, bucket):
    fill(tmp_path, "notes.txt")
    s3_client.put_object(Bucket=bucket, Key="in/", Body=b"")

    for address in (at(tmp_path), f"s3://{bucket}/", f"s3://{bucket}/none"):
        with pytest.raises(SourceUnreadable, match="no images below"):
            open_source(storage, address).check()


def test_a_source_that_is_not_there_is_refused(tmp_path, storage):
    for address in (at(tmp_path / "none"), at(tmp_path / "none/"), "s3://no-such-bucket/x"):
        with pytest.raises(SourceUnreadable) as caught:
            open_source(storage, address).check()
        assert caught.value.field == "source"


def test_a_single_image_is_a_batch_of_one(tmp_path, storage):
    fill(tmp_path, "a/photo.jpeg")

    source = open_source(storage, at(tmp_path / "a/photo.jpeg"))

    source.check()
    (row,) = source.rows()
    assert (source.kind, row.line, row.source) == ("image", 1, at(tmp_path / "a/photo.jpeg"))
    assert source.roots == (at(tmp_path / "a") + "/",)
    assert list(source.rows(row.cursor)) == []
    before = source.version()
    (tmp_path / "a/photo.jpeg").write_bytes(b"other")
    assert open_source(storage, row.source).version() != before


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.jpg", "image"),
        ("a.TIFF", "image"),
        ("m.jsonl", "jsonl"),
        ("m.ndjson", "jsonl"),
        ("m.jsonl.gz", "jsonl"),
        ("manifest", "jsonl"),
        ("m.csv", "csv"),
        ("m.CSV.zst", "csv"),
        ("folder", "listing"),
    ],
)
def test_the_kind_of_a_source_is_told_by_what_is_there(tmp_path, storage, name, kind):
    if kind == "listing":
        (tmp_path / name).mkdir()
    else:
        fill(tmp_path, name)

    assert open_source(storage, at(tmp_path / name)).kind == kind


def test_a_markers_empty_object_does_not_hide_the_prefix_of_its_name(storage, s3_client, bucket):
    s3_client.put_object(Bucket=bucket, Key="in", Body=b"")
    s3_client.put_object(Bucket=bucket, Key="in/a.jpg", Body=b"x")
    s3_client.put_object(Bucket=bucket, Key="in2.jpg", Body=b"x")

    source = open_source(storage, f"s3://{bucket}/in")

    assert [row.source for row in source.rows()] == [f"s3://{bucket}/in/a.jpg"]


def test_a_text_that_is_no_address_is_refused(storage):
    with pytest.raises(AddressInvalid):
        open_source(storage, "photos")


def test_a_file_name_that_is_no_text_is_a_row_like_any_other(tmp_path, storage):
    os.close(os.open(os.fsencode(tmp_path) + b"/\xff.jpg", os.O_CREAT))

    (row,) = open_source(storage, at(tmp_path)).rows()

    assert row.source == at(tmp_path) + "/%FF.jpg"
    assert list(open_source(storage, at(tmp_path)).rows(row.cursor)) == []


def test_a_key_that_the_ledger_cannot_hold_is_rejected_and_its_cursor_can_be_kept():
    body = (
        b"<ListBucketResult><IsTruncated>false</IsTruncated><EncodingType>url</EncodingType>"
        b"<Contents><Key>in/a%00.jpg</Key><Size>1</Size><ETag>e</ETag>"
        b"<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"
    )
    with faulty_http(lambda request, _: request.answer(200, body)) as faulty:
        storage = open_storage(Settings(s3_endpoint_url=faulty.url, s3_addressing_style="path"))
        (item,) = open_source(storage, "s3://bucket/in/").rows()

    assert isinstance(item, Rejected)
    assert item.field == "source"
    assert "\0" not in item.text + item.reason + str(item.cursor.values())


def test_a_reader_states_what_it_lists_in_its_refusal(tmp_path, storage):
    with pytest.raises(SourceUnreadable, match=r"looked for \*\.gif.*--include"):
        open_source(storage, at(tmp_path), include=["*.gif"]).check()
