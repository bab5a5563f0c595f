import gzip
import json
import os
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.errors import SourceUnreadable
from scheduler.manifests import Item, Rejected, Row, Source, open_source
from scheduler.manifests.strict_json import parse_object
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage
from scheduler.storage.address import file_address
from tests.faulty_http import Faulty, Request, faulty_http


@pytest.fixture
def storage() -> Storage:
    return open_storage(Settings())


def source_of(path: Path, data: bytes) -> Source:
    path.write_bytes(data)
    return open_source(open_storage(Settings()), str(file_address(str(path))))


def read(path: Path, *lines: object) -> list[Item]:
    """Read a manifest of these lines: bytes as they are, anything else as JSON."""
    data = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    return list(source_of(path, b"\n".join(data)).rows())


def only(items: list[Item]) -> Item:
    (item,) = items
    return item


def test_a_row_has_its_columns_and_the_unknown_ones_pass_through(tmp_path):
    row = only(
        read(
            tmp_path / "m.jsonl",
            {
                "source": "s3://in/a?b.jpg",
                "version_id": "v1",
                "destination": "x/y.png",
                "id": "seven",
                "arguments": {"scale": 2.5, "tags": ["a"]},
                "label": {"nested": [1, None]},
                "error": "it failed before",
            },
        )
    )

    assert isinstance(row, Row)
    assert (row.line, row.source, row.version) == (1, "s3://in/a?b.jpg", "v1")
    assert (row.destination, row.custom_id) == ("x/y.png", "seven")
    assert row.arguments == {"scale": 2.5, "tags": ["a"]}
    assert row.passthrough == {"label": {"nested": [1, None]}, "error": "it failed before"}
    assert json.loads(json.dumps(row.cursor)) == row.cursor


def test_a_source_alone_is_enough_and_null_means_absent(tmp_path):
    rows = read(
        tmp_path / "m",
        {"source": "file:///a/b.jpg"},
        {"source": "s3://b/k", "id": None, "destination": None, "arguments": None},
        {"source": "s3://b/k", "id": 7},
    )

    assert [(row.destination, row.custom_id, row.arguments) for row in rows] == [
        (None, None, {}),
        (None, None, {}),
        (None, "7", {}),
    ]


def test_byte_order_mark_crlf_and_blank_lines_are_read_over_and_counted(tmp_path):
    data = b'\xef\xbb\xbf{"source": "s3://b/1"}\r\n\r\n   \n{"source": "s3://b/2"}\r\n\n'

    rows = list(source_of(tmp_path / "m.jsonl", data).rows())

    assert [(row.line, row.source) for row in rows] == [(1, "s3://b/1"), (4, "s3://b/2")]


BAD = [
    (b"not json", None, "no JSON"),
    (b'{"source": "s3://b/k"', None, "no JSON"),
    (b'{"source": "s3://b/k"} x', None, "no JSON"),
    (b'{"source": "s3://b/\xff"}', None, "no UTF-8 at byte 20"),
    (b'\xff\xfe{\x00"', None, "no UTF-8"),
    (b'["s3://b/k"]', None, "no JSON object"),
    (b"7", None, "no JSON object"),
    (b"{}", "source", "missing"),
    (b'{"source": null}', "source", "missing"),
    (b'{"source": ""}', "source", "empty"),
    (b'{"source": 7}', "source", "must be a text, not a number"),
    (b'{"source": "photos/a.jpg"}', "source", "no address"),
    (b'{"source": "https://u:p@host/a.jpg"}', "source", "password"),
    (b'{"source": "s3://b/folder/"}', "source", "folder"),
    (b'{"source": "file:///a/../b"}', "source", "leave its folder"),
    (b'{"source": "s3://b/k", "source": "s3://b/l"}', "source", "twice"),
    (b'{"source": "s3://b/k", "arguments": {"a": 1, "a": 2}}', "a", "twice"),
    (b'{"source": "s3://b/k", "arguments": [1]}', "arguments", "not a list"),
    (b'{"source": "s3://b/k", "arguments": "x"}', "arguments", "not a text"),
    (b'{"source": "s3://b/k", "arguments": {"scale": NaN}}', None, "NaN"),
    (b'{"source": "s3://b/k", "arguments": {"scale": -Infinity}}', None, "Infinity"),
    (b'{"source": "s3://b/k", "arguments": {"scale": 1e999}}', None, "too large"),
    (b'{"source": "s3://b/k", "n": ' + b"1" * 5000 + b"}", None, "too many digits"),
    (b'{"source": "s3://b/k", "n": ' + b"[" * 70 + b"]" * 70 + b"}", None, "nested deeper"),
    (b'{"source": "s3://b/k", "n": ' + b"[" * 90_000, None, "nested deeper"),
    (b'{"source": "s3://b/k", "destination": 1}', "destination", "must be a text"),
    (b'{"source": "s3://b/k", "destination": ""}', "destination", "empty"),
    (b'{"source": "s3://b/k", "id": true}', "id", "not a truth value"),
    (b'{"source": "s3://b/k", "id": {}}', "id", "not an object"),
    (b'{"source": "s3://b/k", "id": "' + b"i" * 256 + b'"}', "id", "256 characters"),
    (b'{"source": "file:///a", "version_id": "v"}', "version_id", "only s3"),
    (b'{"source": "s3://b/k\\u0000"}', "source", "NUL"),
    (b'{"source": "s3://b/k", "x": ["\\ud800"]}', "x", "half a character"),
    (b'{"source": "s3://b/k", "x": {"\\u0000": 1}}', "x", "NUL"),
    (b'{"source": "s3://b/k", "\\u0000": 1}', None, "NUL"),
    (b'{"source": "s3://b/' + b"k" * 1025 + b'"}', "source", "1025 bytes"),
    (b'{"source": "s3://b/k", "x": "' + b"x" * 2**20 + b'"}', None, "longer than 1048576"),
    (b"\0\0\0", None, "no JSON"),
]


@pytest.mark.parametrize(("line", "field", "reason"), BAD, ids=[f"{n}" for n in range(len(BAD))])
def test_a_bad_row_is_rejected_by_line_field_and_reason_and_the_next_is_read(
    tmp_path, line, field, reason
):
    good = b'{"source": "s3://b/good"}'

    first, bad, last = source_of(tmp_path / "m", b"\n".join([good, line, good])).rows()

    assert (first.line, last.line) == (1, 3)
    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(bad, Rejected)
    assert (bad.line, bad.field) == (2, field)
    assert reason in bad.reason
    for text in (bad.reason, bad.text, bad.field or ""):
        assert "\0" not in text
        text.encode()
    assert len(bad.text) <= 1000


def test_braces_inside_of_a_text_are_no_nesting(tmp_path):
    row = only(read(tmp_path / "m", {"source": "s3://b/k", "x": '\\"' + "[{" * 90}))

    assert isinstance(row, Row)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "has no rows"),
        (b"\n \n\r\n", "has no rows"),
        (b"\x89PNG\r\n\x1a\n" + bytes(5000), "line 1"),
        (b"<html>\n<body>no</body>\n", "no JSON"),
        (b"bucket,key\nphotos,a.jpg\n", "no JSON"),
        (b'[{"source": "s3://b/k"}]', "no JSON object"),
        (b'{"prompt": "a"}\n{"prompt": "b"}\n', "source: is missing"),
        (b"x" * 5_000_000, "longer than"),
        (gzip.compress(b"text", mtime=0), "no JSON"),
        (gzip.compress(b'{"source": "s3://b/k"}\n' * 1000, mtime=0)[:-20], "damaged"),
    ],
)
def test_a_file_that_is_no_manifest_is_refused_with_the_reason(tmp_path, data, reason):
    source = source_of(tmp_path / "m.jsonl", data)

    with pytest.raises(SourceUnreadable, match=reason) as caught:
        source.check()

    assert caught.value.field == "source"


def test_a_manifest_with_bad_rows_is_still_a_manifest(tmp_path):
    source_of(tmp_path / "a", b'oops\n{"source": "s3://b/k"}\n').check()
    source_of(tmp_path / "b", b'{"source": 5}').check()
    source_of(tmp_path / "c", b'{"source": "s3://b/k", "id": []}').check()


def test_the_version_of_a_local_manifest_is_that_of_its_content(tmp_path):
    one = source_of(tmp_path / "a", b'{"source": "s3://b/k"}').version()
    same = source_of(tmp_path / "b", b'{"source": "s3://b/k"}').version()
    other = source_of(tmp_path / "c", b'{"source": "s3://b/l"}').version()

    assert one == same != other
    assert one.startswith("sha256:")


def test_a_manifest_that_changed_since_its_cursor_is_not_read_on(tmp_path):
    source = source_of(tmp_path / "m", b'{"source": "s3://b/1"}\n{"source": "s3://b/2"}\n')
    cursor = next(source.rows()).cursor
    changed = source_of(tmp_path / "m", b'{"source": "s3://b/0"}\n{"source": "s3://b/2"}\n')

    with pytest.raises(SourceUnreadable, match="was changed"):
        next(changed.rows(cursor))


def test_a_touched_manifest_with_the_same_content_is_read_on(tmp_path):
    data = b'{"source": "s3://b/1"}\n{"source": "s3://b/2"}\n'
    cursor = next(source_of(tmp_path / "m", data).rows()).cursor
    os.utime(tmp_path / "m", (1, 1))

    again = open_source(open_storage(Settings()), str(file_address(str(tmp_path / "m"))))

    assert [row.source for row in again.rows(cursor)] == ["s3://b/2"]


def test_a_manifest_that_changes_while_it_is_read_is_noticed(tmp_path):
    source = source_of(tmp_path / "m", b'{"source": "s3://b/1"}\n{"source": "s3://b/2"}\n')
    rows = source.rows()
    next(rows)
    with (tmp_path / "m").open("ab") as file:
        file.write(b'{"source": "s3://b/3"}\n')

    with pytest.raises(SourceUnreadable, match="was changed"):
        list(rows)


def test_another_version_than_the_submitted_one_is_refused(tmp_path, storage):
    source = source_of(tmp_path / "m", b'{"source": "s3://b/1"}')
    address = str(file_address(str(tmp_path / "m")))

    assert open_source(storage, address, version=source.version()).version() == source.version()
    with pytest.raises(SourceUnreadable, match="since its batch was submitted"):
        open_source(storage, address, version="sha256:0")


GOOD_LINES = st.builds(
    lambda key, extra: json.dumps({"source": f"s3://b/{key}", "x": extra}).encode(),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=9).filter(
        lambda key: not key.endswith("/")
    ),
    st.integers() | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=9),
)
LINES = st.lists(
    GOOD_LINES
    | st.sampled_from([line for line, _, _ in BAD if len(line) < 99])
    | st.sampled_from([b"", b"  ", b"\t"])
    | st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")),
    max_size=12,
)


@settings(max_examples=150, deadline=None)
@given(
    LINES, st.sampled_from([b"\n", b"\r\n"]), st.booleans(), st.booleans(), st.sampled_from("pz")
)
def test_every_line_that_is_not_blank_gives_one_item_and_any_cursor_the_rest(
    lines, end, bom, ended, kind
):
    data = (b"\xef\xbb\xbf" if bom else b"") + end.join(lines) + (end if ended else b"")
    plain = data.removeprefix(b"\xef\xbb\xbf")  # A random first line may look like a mark itself.
    with tempfile.TemporaryDirectory() as folder:
        source = source_of(Path(folder) / "m.jsonl", gzip.compress(data) if kind == "z" else data)

        items = list(source.rows())

        expected = [n for n, line in enumerate(plain.split(b"\n"), start=1) if line.strip()]
        assert [item.line for item in items] == expected
        for index, item in enumerate(items):
            cursor = json.loads(json.dumps(item.cursor))
            assert list(source.rows(cursor)) == items[index + 1 :]


PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
)
VALUES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab\u00e9", max_size=2), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text("ab\\", max_size=2), VALUES, max_size=4), st.booleans())
def test_the_quick_parser_reads_what_the_slow_one_does(value, escaped):
    text = json.dumps(value, ensure_ascii=escaped)

    found = parse_object(text)

    assert repr(found) == repr(json.loads(text))  # 1, 1.0 and true are apart


def test_a_compressed_manifest_is_read_whatever_its_name(tmp_path):
    data = gzip.compress(b'{"source": "s3://b/1"}\n') + gzip.compress(b'{"source": "s3://b/2"}\n')

    source = source_of(tmp_path / "m.jsonl.gz", data)

    source.check()
    assert [row.source for row in source.rows()] == ["s3://b/1", "s3://b/2"]


def test_damaged_compression_is_an_unreadable_source_and_no_crash(tmp_path):
    random = b"".join(
        b'{"source": "s3://b/%s"}\n' % os.urandom(20).hex().encode() for _ in range(5000)
    )
    source = source_of(tmp_path / "m", gzip.compress(random)[:-100])

    with pytest.raises(SourceUnreadable, match="damaged"):
        list(source.rows())


def test_a_hundred_thousand_rows_and_one_endless_line_are_read_in_little_memory(tmp_path):
    with (tmp_path / "m").open("wb") as file:
        file.write(b"x" * 20_000_000 + b"\n")
        for number in range(100_000):
            file.write(b'{"source": "s3://bucket/photos/%07d.jpg", "id": %d}\n' % (number, number))
    source = open_source(open_storage(Settings()), str(file_address(str(tmp_path / "m"))))

    tracemalloc.start()
    kinds = {Row: 0, Rejected: 0}
    for item in source.rows():
        kinds[type(item)] += 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert kinds == {Row: 100_000, Rejected: 1}
    assert peak < 8_000_000


def test_a_manifest_on_s3_is_the_same_by_its_etag_and_guarded_by_it(s3_url, s3_client, bucket):
    storage = open_storage(Settings(s3_endpoint_url=s3_url, s3_addressing_style="path"))
    data = b'{"source": "s3://b/1"}\n{"source": "s3://b/2"}\n'
    etag = s3_client.put_object(Bucket=bucket, Key="m.jsonl", Body=data)["ETag"].strip('"')
    source = open_source(storage, f"s3://{bucket}/m.jsonl")
    source.check()
    first, second = source.rows()

    assert source.version() == f"etag:{etag}"
    assert [row.source for row in source.rows(first.cursor)] == ["s3://b/2"]
    assert list(source.rows(second.cursor)) == []
    s3_client.put_object(Bucket=bucket, Key="m.jsonl", Body=data + b"\n")
    with pytest.raises(SourceUnreadable, match="was changed"):
        list(source.rows())
    with pytest.raises(SourceUnreadable, match="was changed"):
        list(open_source(storage, f"s3://{bucket}/m.jsonl").rows(first.cursor))


def test_a_manifest_is_read_over_broken_connections_row_for_row():
    data = b"".join(b'{"source": "s3://b/%06d"}\n' % number for number in range(60_000))

    def answer(request: Request, _: Faulty) -> None:
        if request.method == "HEAD":
            request.answer(200, data, ETag='"one"', Last_Modified="Sat, 21 Nov 2026 00:00:00 GMT")
        else:
            request.answer_range(data, cut_at=500_003 if request.number % 2 else None)

    with faulty_http(answer) as faulty:
        storage = open_storage(
            Settings(s3_endpoint_url=faulty.url, s3_addressing_style="path", storage_attempts=2)
        )
        rows = list(open_source(storage, "s3://bucket/m.jsonl").rows())

    assert [row.source for row in rows] == [f"s3://b/{number:06}" for number in range(60_000)]
