"""Manifests that people have already: CSV, plain lists, SageMaker's, and their compressions."""

import bz2
import gzip
import json
import tempfile
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.cli.submit import submit
from scheduler.errors import SourceUnreadable
from scheduler.manifests import Dialect, Encoding, Item, Rejected, Row, Skipped, Source, open_source
from scheduler.manifests.dialect import FORMATS
from scheduler.manifests.kinds import OPENERS
from scheduler.settings import Settings
from scheduler.storage import open_storage
from scheduler.storage.address import file_address


def source_of(path: Path, data: bytes, **dialect: object) -> Source:
    path.write_bytes(data)
    address = str(file_address(str(path)))
    return open_source(open_storage(Settings()), address, dialect=Dialect(**dialect))


def read(path: Path, data: bytes, **dialect: object) -> list[Item]:
    return list(source_of(path, data, **dialect).rows())


def test_a_batch_operations_row_is_bucket_key_and_version_with_url_encoded_keys(tmp_path):
    data = (
        b"photos,albums/2024/img%20001.jpg\r\n"
        b"photos,caf%C3%A9+noir.jpg,3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY\n"
        b"photos,1%2B1.jpg,\n"
        b"\n\n"
    )

    one, two, three = read(tmp_path / "m.csv", data)

    assert (one.source, one.version) == ("s3://photos/albums/2024/img 001.jpg", None)
    assert two.source == "s3://photos/café noir.jpg"
    assert two.version == "3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY"
    assert (three.source, three.version, three.line) == ("s3://photos/1+1.jpg", None, 3)


@pytest.mark.parametrize(
    ("encoding", "key", "source", "alternative"),
    [
        ("url", b"a+b%2Bc%20d", "a b+c d", None),
        ("raw", b"a+b%2Bc%20d", "a+b%2Bc%20d", None),
        ("auto", b"a+b%20c", "a b c", "a+b%20c"),
        ("auto", b"a+b", "a+b", "a b"),
        ("auto", b"plain", "plain", None),
        ("auto", b"100%", "100%", None),
        ("auto", b"%FF.jpg", "%FF.jpg", None),
        ("raw", b"//..//?x#y&z=1 ", "//..//?x#y&z=1 ", None),
        ("raw", "\N{CAMERA}".encode() * 256, "\N{CAMERA}" * 256, None),
    ],
)
def test_keys_are_read_in_the_encoding_that_was_said_and_never_normalised(
    tmp_path, encoding, key, source, alternative
):
    (row,) = read(tmp_path / "m.csv", b"photos," + key, encoding=Encoding(encoding))

    assert row.source == f"s3://photos/{source}"
    assert row.alternative == (alternative and f"s3://photos/{alternative}")


def test_fields_name_the_columns_and_what_is_ignored_is_left_out(tmp_path):
    data = b'x,photos,"a,""b"".jpg",v1,red\nx,photos,c.jpg\n'
    fields = ("Ignore", "Bucket", "Key", "VersionId", "colour")

    row, short = read(tmp_path / "m.csv", data, fields=fields)

    assert (row.source, row.version) == ('s3://photos/a,"b".jpg', "v1")
    assert row.passthrough == {"colour": "red"}
    assert "3 columns, not 5" in short.reason


def test_a_header_is_recognised_by_exact_names_only(tmp_path):
    with_header = read(tmp_path / "a.csv", b"\xef\xbb\xbfkey,bucket,label\na.jpg,photos,7\n")
    told = read(tmp_path / "b.csv", b"bucket,key\n", fields=("Bucket", "Key"))
    near = read(tmp_path / "c.csv", b"buckets,keys\n")

    assert [(row.source, row.passthrough) for row in with_header] == [
        ("s3://photos/a.jpg", {"label": "7"})
    ]
    assert [row.source for row in told + near] == ["s3://bucket/key", "s3://buckets/keys"]


def test_imagefolder_metadata_names_files_beside_itself(tmp_path):
    rows = read(tmp_path / "metadata.csv", b"file_name,text\nsub/a.jpg,a cat\n../b.jpg,out\n")
    (line,) = read(tmp_path / "metadata.jsonl", b'{"file_name": "sub/a b.jpg", "text": "x"}')

    assert rows[0].source == str(file_address(str(tmp_path / "sub/a.jpg")))
    assert rows[0].passthrough == {"text": "a cat"}
    assert isinstance(rows[1], Rejected)
    assert rows[1].field == "file_name"
    assert line.source == str(file_address(str(tmp_path / "sub/a b.jpg")))


def test_the_names_of_others_count_where_ours_are_absent(tmp_path):
    lines = [
        {"source-ref": "s3://b/1", "label": 3, "label-metadata": {"x": 1}},
        {"src": "s3://b/2", "dst": "two.png", "custom_id": "c", "params": {"scale": 2}},
        {"image_url": "https://example.com/3.jpg"},
        {"source": "s3://b/4", "src": "else", "params": {"k": 1}, "arguments": {}},
    ]

    one, two, three, four = read(tmp_path / "m.jsonl", "\n".join(map(json.dumps, lines)).encode())

    assert (one.source, one.passthrough) == (
        "s3://b/1", {"label": 3, "label-metadata": {"x": 1}},
    )  # fmt: skip
    assert (two.source, two.destination, two.custom_id) == ("s3://b/2", "two.png", "c")
    assert (two.arguments, two.passthrough) == ({"scale": 2}, {})
    assert three.source == "https://example.com/3.jpg"
    assert (four.source, four.passthrough) == ("s3://b/4", {"src": "else", "params": {"k": 1}})


BAD_CSV = [
    (b"photos", None, "1 columns"),
    (b"photos,a,b,c", None, "4 columns"),
    (b"photos,", "source", "missing"),
    (b",a.jpg", "source", "missing"),
    (b"no/bucket,a.jpg", "source", "no bucket name"),
    (b'photos,"a"b.jpg', None, "no CSV"),
    (b'photos,"open quote', None, "no CSV"),
    (b"photos,\xff.jpg", None, "no UTF-8"),
    (b"photos,a\0b.jpg", None, "NUL"),
    (b"photos,a%00b.jpg", "key", "NUL"),
    (b"photos," + b"k" * 1025, "source", "1025 bytes"),
    (b"photos," + b"k" * 200_000, None, "longer than"),
]


@pytest.mark.parametrize(
    ("line", "field", "reason"), BAD_CSV, ids=[f"{n}" for n in range(len(BAD_CSV))]
)
def test_a_bad_csv_row_is_rejected_by_line_and_the_next_is_read(tmp_path, line, field, reason):
    good = b"photos,good.jpg"

    first, bad, last = read(tmp_path / "m.csv", b"\n".join([good, line, good]))

    assert isinstance(first, Row)
    assert isinstance(last, Row)
    assert isinstance(bad, Rejected)
    assert (bad.line, bad.field, last.line) == (2, field, 3)
    assert reason in bad.reason
    assert "\0" not in bad.text + bad.reason


def test_an_open_quote_costs_its_own_line_only_and_bounded_work(tmp_path):
    data = b'photos,"a\n' + b'x","y\n' * 2000 + b"photos,b.jpg\n"

    items = read(tmp_path / "m.csv", data)

    assert [item.line for item in items] == list(range(1, 2003))
    assert isinstance(items[-1], Row)


def test_a_line_end_inside_of_quotes_is_part_of_the_key(tmp_path):
    first, second = read(tmp_path / "m.csv", b'photos,"a\r\nb.jpg"\nphotos,c.jpg\n')

    assert (first.source, first.line) == ("s3://photos/a\r\nb.jpg", 1)
    assert second.line == 3


def test_folder_markers_are_skipped_and_doubles_are_not(tmp_path):
    data = b"photos,in/\nphotos,a.jpg\nphotos,a.jpg\n"

    marker, *rows = read(tmp_path / "m.csv", data)

    assert isinstance(marker, Skipped)
    assert [row.source for row in rows] == ["s3://photos/a.jpg"] * 2  # the ledger rejects one


def test_a_plain_list_has_an_address_or_a_name_a_line(tmp_path):
    data = b"s3://b/a%20b+c.jpg\r\n\n#no comment.jpg\nsub/d e.jpg \nhttps://example.com/f.jpg\n"

    plain = [row.source for row in read(tmp_path / "m.txt", data)]
    commented = read(tmp_path / "m.txt", data, comments=True, encoding=Encoding.URL)

    folder = str(file_address(str(tmp_path)))
    assert plain == [
        "s3://b/a%20b+c.jpg",
        f"{folder}/%23no%20comment.jpg",
        f"{folder}/sub/d%20e.jpg%20",
        "https://example.com/f.jpg",
    ]
    assert commented[0].source == "s3://b/a b c.jpg"
    assert [row.line for row in commented] == [1, 4, 5]


def test_names_in_a_list_on_s3_are_keys_of_its_bucket(s3_url, s3_client, bucket):
    storage = open_storage(Settings(s3_endpoint_url=s3_url, s3_addressing_style="path"))
    s3_client.put_object(Bucket=bucket, Key="lists/today.txt", Body=b"in/a.jpg\n/b.jpg\nin/\n")

    one, two, marker = open_source(storage, f"s3://{bucket}/lists/today.txt").rows()

    assert (one.source, two.source) == (f"s3://{bucket}/in/a.jpg", f"s3://{bucket}//b.jpg")
    assert isinstance(marker, Skipped)


def test_a_sagemaker_array_appends_to_its_prefix(tmp_path):
    data = json.dumps(
        [{"prefix": "s3://photos/20"}, "24/a.jpg", "24/b+%20.jpg", 7, "24/", "x\0"]
    ).encode("utf-8-sig")

    source = source_of(tmp_path / "images.manifest", data)
    items = list(source.rows())

    source.check()
    assert [type(item) for item in items] == [Row, Row, Rejected, Skipped, Rejected]
    assert [item.source for item in items[:2]] == [
        "s3://photos/2024/a.jpg",
        "s3://photos/2024/b+%20.jpg",
    ]
    assert [item.line for item in items] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b'[{"prefix": 7}, "a"]', "text"),
        (b'[{"prefix": "s3://b/"}, "a" "b"]', "no JSON array"),
        (b'[{"prefix": "s3://b/"}', "no JSON array"),
        (b'[{"prefix": "s3://b/"}, "' + b"x" * 2_000_000 + b'"]', "longer than"),
        (b"[" * 2_000_000, "holds an array"),
        (b'[{"prefix": {}}]', "holds an array"),
    ],
    ids=list("abcdef"),
)
def test_a_broken_array_is_an_unreadable_source(tmp_path, data, reason):
    with pytest.raises(SourceUnreadable, match=reason):
        read(tmp_path / "m", data)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"photos,a.jpg\n", "csv"),
        (b'"photos","a.jpg"\n', "csv"),
        (b"\xef\xbb\xbf s3://photos/a.jpg\n", "list"),
        (b'[{"prefix": "s3://b/"}, "a"]', "sagemaker"),
        (b'{"source-ref": "s3://b/a.jpg"}\n', "jsonl"),
        (b"in/a.jpg\r\nin/b.jpg\r\n", "list"),
        (b"Who, knows", "jsonl"),
    ],
)
def test_the_format_is_told_by_the_content_where_the_name_says_nothing(tmp_path, data, kind):
    for number, compress in enumerate([bytes, gzip.compress, bz2.compress, zstd.compress]):
        assert source_of(tmp_path / f"m{number}", compress(data)).kind == kind


def test_a_format_can_be_forced_and_a_wrong_one_is_refused(tmp_path):
    assert source_of(tmp_path / "m.txt", b"photos,a.jpg", format="csv").kind == "csv"
    with pytest.raises(SourceUnreadable, match="no manifest: line 1"):
        source_of(tmp_path / "m.jsonl", b"photos,a.jpg").check()
    with pytest.raises(SourceUnreadable, match="must have Bucket and Key"):
        source_of(tmp_path / "m.csv", b"photos,a.jpg", fields=("Bucket", "Ignore"))


@pytest.mark.parametrize(
    "compress", [gzip.compress, bz2.compress, zstd.compress], ids=["gz", "bz2", "zst"]
)
def test_damaged_compression_is_an_unreadable_source(tmp_path, compress):
    data = compress(b"".join(b"photos,%06d.jpg\n" % number for number in range(50_000)))
    middle = len(data) // 2

    with pytest.raises(SourceUnreadable, match="compression is damaged"):
        read(tmp_path / "m.csv", data[:middle] + bytes(64) + data[middle + 64 :])
    with pytest.raises(SourceUnreadable, match="compression is damaged"):
        read(tmp_path / "m.csv", data[:middle])


LINES = st.lists(
    st.sampled_from(
        [b"photos,a%20b.jpg", b'photos,"a\nb"', b'photos,"open', b"", b"photos", b"photos,d/"]
    )
    | st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"")),
    max_size=10,
)


@settings(max_examples=60, deadline=None)
@given(LINES, st.sampled_from([b"\n", b"\r\n"]), st.sampled_from([bytes, gzip.compress]))
def test_reading_csv_goes_on_behind_any_cursor(lines, end, compress):
    data = end.join([b"bucket,key", *lines])
    with tempfile.TemporaryDirectory() as folder:
        source = source_of(Path(folder) / "m.csv", compress(data))

        items = list(source.rows())

        for index, item in enumerate(items):
            cursor = json.loads(json.dumps(item.cursor))
            assert list(source.rows(cursor)) == items[index + 1 :]


def test_reading_an_array_goes_on_behind_any_cursor(tmp_path):
    data = json.dumps([{"prefix": "s3://b/"}, *(f"{n}.jpg" for n in range(5))]).encode()
    source = source_of(tmp_path / "m", zstd.compress(data))
    items = list(source.rows())

    for index, item in enumerate(items):
        assert list(source.rows(item.cursor)) == items[index + 1 :]


def test_the_command_line_offers_the_formats_that_are_read():
    (option,) = (each for each in submit.params if each.name == "manifest_format")

    assert tuple(option.type.choices) == FORMATS
    assert set(FORMATS) == set(OPENERS)
