import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import RowInvalid
from scheduler.naming import Naming, numbered
from scheduler.storage import parse_address
from scheduler.storage.address import s3_address

TEXT = st.text(max_size=40)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


def name(source: str, *, suffix: str = "png", explicit: str | None = None, **naming) -> str:
    naming = {"destination": "s3://out/x/", "roots": ("s3://in/photos/",)} | naming
    return Naming(**naming).result(source, suffix=suffix, explicit=explicit)


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("photo.jpg", "photo.png"),
        ("photo.tar.jpg", "photo.tar.png"),
        ("a/b/photo.JPEG", "a/b/photo.png"),
        ("photo", "photo.png"),
        ("a.d/photo", "a.d/photo.png"),
        (".hidden", ".hidden.png"),
        ("v1.2", "v1.2.png"),
        ("scan.jp2", "scan.png"),
        ("My photo. The best", "My photo. The best.png"),
        ("photo.", "photo..png"),
        ("a//../b.jpg", "a//../b.png"),
        ("q?x=1#y.jpg", "q?x=1#y.png"),
    ],
)
def test_a_result_is_named_like_its_source_with_the_formats_suffix(source, result):
    assert name(f"s3://in/photos/{source}") == f"s3://out/x/{result}"


def test_a_destination_is_a_folder_with_or_without_its_slash():
    assert name("s3://in/photos/a.jpg", destination="s3://out/x") == "s3://out/x/a.png"
    assert name("s3://in/photos/a.jpg", destination="s3://out") == "s3://out/a.png"
    assert name("s3://in/photos/a.jpg", destination="file:///o") == "file:///o/a.png"


def test_the_longest_root_decides_where_a_name_begins():
    roots = ("s3://in/", "s3://in/photos/2024/", "s3://in/photos/")

    assert name("s3://in/photos/2024/a.jpg", roots=roots) == "s3://out/x/a.png"


def test_a_root_is_a_folder_and_no_string_prefix():
    assert name("s3://in/photos2/a.jpg") == "s3://out/x/photos2/a.png"


def test_outside_of_the_roots_s3_gives_the_key_and_a_file_its_own_name():
    assert name("s3://other/photos/a.jpg") == "s3://out/x/photos/a.png"
    assert name("file:///data/photos/a.jpg") == "s3://out/x/a.png"
    assert name("file:///data/p/a.jpg", roots=("file:///data/",)) == "s3://out/x/p/a.png"


def test_a_file_name_is_escaped_on_files_and_literal_on_s3():
    root = {"roots": ("file:///data/",)}

    assert name("file:///data/a%20%C3%A9.jpg", **root) == "s3://out/x/a \u00e9.png"
    assert (
        name("s3://in/photos/a \u00e9.jpg", destination="file:///o") == "file:///o/a%20%C3%A9.png"
    )


@pytest.mark.parametrize("key", ["../a.jpg", "a/../../b.jpg", "a/../b", "a\0b.jpg"])
def test_a_key_that_would_leave_the_folder_is_refused(key):
    with pytest.raises(RowInvalid, match="another destination") as caught:
        name(f"s3://in/photos/{key}", destination="file:///out")

    assert caught.value.field == "destination"


def test_a_key_with_a_leading_slash_stays_in_the_folder():
    assert name("s3://in/photos//etc/a.jpg", destination="file:///out") == "file:///out/etc/a.png"


def test_a_file_name_that_is_no_text_cannot_become_a_key():
    with pytest.raises(RowInvalid, match="Unicode"):
        name("file:///data/%FF.jpg")


def test_an_explicit_destination_is_taken_as_it_stands():
    source = "s3://in/photos/a.jpg"

    assert name(source, explicit="b/c.webp") == "s3://out/x/b/c.webp"
    assert name(source, explicit="../c") == "s3://out/x/../c"
    assert name(source, explicit="/c") == "s3://out/x//c"
    assert name(source, explicit="s3://third/c?d") == "s3://third/c?d"
    assert name(source, explicit="b.png", destination="file:///o") == "file:///o/b.png"
    assert name(source, explicit="file:///o/p/b", destination="file:///o") == "file:///o/p/b"


@pytest.mark.parametrize(
    "explicit",
    ["../b", "/etc/passwd", "a/../../b", "b/", ".", "file:///other/b", "file:///out", "http://h/b"],
)
def test_an_explicit_destination_may_not_leave_the_folder(explicit):
    with pytest.raises(RowInvalid):
        name("s3://in/photos/a.jpg", explicit=explicit, destination="file:///out")


def test_a_row_may_not_write_local_files_when_the_batch_goes_to_s3():
    with pytest.raises(RowInvalid, match="lies outside"):
        name("s3://in/photos/a.jpg", explicit="file:///etc/passwd")


def test_a_result_may_take_its_sources_place_only_when_told_to():
    same = {"destination": "s3://in/photos/"}

    with pytest.raises(RowInvalid, match="--in-place"):
        name("s3://in/photos/a.png", **same)
    assert name("s3://in/photos/a.png", in_place=True, **same) == "s3://in/photos/a.png"
    assert name("s3://in/photos/a.jpg", **same) == "s3://in/photos/a.png"


def test_a_source_is_recognised_through_a_link_to_its_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    roots = {"roots": (f"file://{tmp_path}/photos/",)}

    with pytest.raises(RowInvalid, match="--in-place"):
        name(f"file://{tmp_path}/photos/a.png", destination=f"file://{tmp_path}/link", **roots)


@pytest.mark.parametrize("taken", ["results.jsonl", "s3://out/x/report.html"])
def test_no_row_may_take_the_place_of_the_report(taken):
    with pytest.raises(RowInvalid, match="report"):
        name("s3://in/photos/a.jpg", explicit=taken)


def test_several_results_of_one_source_lie_in_a_folder_of_their_own():
    assert numbered("s3://out/a.b.png", 0, suffix="png") == "s3://out/a.b/00.png"
    assert numbered("file:///o/a%20.png", 11, suffix="jpg") == "file:///o/a%20/11.jpg"
    assert numbered("s3://out/a", 100, suffix="png") == "s3://out/a/100.png"


@given(KEYS, st.none() | TEXT)
def test_no_result_ever_leaves_a_local_folder(key, explicit):
    naming = Naming(destination="file:///out/results", roots=("s3://in/",))

    try:
        result = naming.result(str(s3_address("in", key)), suffix="png", explicit=explicit)
    except RowInvalid:
        return

    place = parse_address(result)
    if place.scheme == "file":
        assert os.path.normpath(place.key).startswith("/out/results/")
    else:
        assert explicit.startswith("s3://")


@given(KEYS)
def test_every_key_has_a_result_on_s3_that_is_below_the_destination(key):
    naming = Naming(destination="s3://out/r", roots=("s3://in/",))

    assert naming.result(f"s3://in/{key}", suffix="png").startswith("s3://out/r/")
