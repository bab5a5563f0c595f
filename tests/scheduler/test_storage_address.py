import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.errors import AddressInvalid
from scheduler.storage import address_of, parse_address
from scheduler.storage.address import file_address, s3_address

FILE_NAMES = st.binary(min_size=1, max_size=40).filter(
    lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b"..")
)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(KEYS)
def test_any_s3_key_survives_its_address(key: str):
    place = s3_address("bucket", key)

    again = parse_address(str(place))

    assert (again.bucket, again.key) == ("bucket", key)


@given(st.lists(FILE_NAMES, min_size=1, max_size=4))
def test_any_file_name_survives_its_address_which_is_plain_ascii(names: list[bytes]):
    path = "/" + "/".join(os.fsdecode(name) for name in names)

    text = str(file_address(path))

    assert text.isascii()
    assert parse_address(text).key == path


@pytest.mark.parametrize(
    "key", ["a?versionId=1", "a#b", "..", "../..", "a//b", "/a", "a%20b", "a b+c", "\U0001f600"]
)
def test_s3_keys_are_literal(key: str):
    assert parse_address(f"s3://bucket/{key}").key == key


def test_a_file_address_is_percent_decoded_and_question_marks_are_part_of_the_name():
    assert parse_address("file:///a%20b/%C3%A9?#.jpg").key == "/a b/é?#.jpg"


def test_doubled_slashes_and_dots_name_the_same_file():
    assert str(parse_address("file:///a//./b.jpg")) == "file:///a/b.jpg"


@pytest.mark.parametrize("text", ["file:///a/../b", "file:///a/%2e%2e/b", "file:///.."])
def test_a_file_address_may_not_climb(text: str):
    with pytest.raises(AddressInvalid, match=r"'\.\.'"):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("", "empty"),
        ("s3:/bucket/key", "two slashes"),
        ("s3:bucket", "two slashes"),
        ("S3://bucket/key", "lower case"),
        ("s3:///key", "no bucket name"),
        ("s3://", "no bucket name"),
        ("s3://buc ket/key", "no bucket name"),
        ("s3://b/" + "k" * 1025, "1025 bytes"),
        ("s3://b/\ud800", "no Unicode"),
        ("https:/example.com/a.jpg", "write it as https://host/path"),
        ("https://user@example.com/a.jpg", "a user name"),
        ("file://host/a.jpg", "no host"),
        ("file:a.jpg", "two slashes"),
        ("file:///100%.jpg", "%25"),
        ("file:///a%00b", "NUL"),
        ("photos/a.jpg", "is no address"),
    ],
)
def test_a_wrong_address_is_refused_with_advice(text: str, advice: str):
    with pytest.raises(AddressInvalid, match=advice):
        parse_address(text)


def test_a_local_path_becomes_an_absolute_address(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert address_of("a b.jpg") == f"file://{tmp_path}/a%20b.jpg"
    assert address_of("photos/../other/") == f"file://{tmp_path}/other/"
    assert address_of("~/x") == f"file://{tmp_path}/home/x"
    assert address_of(".") == f"file://{tmp_path}"


def test_an_address_stays_an_address():
    assert address_of("s3://bucket") == "s3://bucket/"
    assert address_of("s3://bucket/a b") == "s3://bucket/a b"
    assert address_of("file:///a/b/") == "file:///a/b/"


@pytest.mark.parametrize("text", ["s3:/x", "http:///x", "file:x", "", "ftp://x"])
def test_what_looks_like_an_address_is_never_taken_for_a_path(text: str):
    with pytest.raises(AddressInvalid):
        address_of(text)


@given(st.text(max_size=60))
def test_no_relative_name_leaves_a_file_folder(relative: str):
    folder = file_address("/out/")

    try:
        place = folder.child(relative)
    except AddressInvalid:
        return

    assert os.path.normpath(place.key) == "/out" or os.path.normpath(place.key).startswith("/out/")
