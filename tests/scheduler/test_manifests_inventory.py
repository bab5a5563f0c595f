"""S3 Inventory, in CSV and Parquet, from a real S3 server; and Parquet manifests."""

import gzip
import hashlib
import json
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from pyarrow import parquet

from scheduler.errors import SourceUnreadable
from scheduler.manifests import Dialect, Rejected, Row, Skipped, Source, open_source
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage
from scheduler.storage.address import file_address

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

SCHEMA = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size"
FOLDER = "inv/photos/daily"
ROWS = [
    ("photos", "2024/img%20001+a%2B.jpg", "v1", "true", "false", "7"),
    ("photos", "2024/img%20001+a%2B.jpg", "v0", "false", "false", "7"),
    ("photos", "gone.jpg", "v2", "true", "true", "0"),
    ("photos", "2024/", "", "true", "false", "0"),
    ("photos", "empty.jpg", "", "true", "false", "0"),
    ("photos", "notes.txt", "", "true", "false", "9"),
    ("photos", "results/a.png", "", "true", "false", "9"),
    ("photos", "%FF.jpg", "", "true", "false", "9"),
    ("photos", 'a%2C"b".JPG', "", "true", "false", "9"),
]


@pytest.fixture
def storage(s3_url: str) -> Storage:
    return open_storage(Settings(s3_endpoint_url=s3_url, s3_addressing_style="path"))


def csv_file(rows: list[tuple[str, ...]]) -> bytes:
    lines = (",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    return gzip.compress("".join(line + "\n" for line in lines).encode())


def parquet_file(rows: list[tuple[object, ...]], **options: object) -> bytes:
    names = ("bucket", "key", "version_id", "is_latest", "is_delete_marker", "size")
    sink = pa.BufferOutputStream()
    parquet.write_table(
        pa.table([list(c) for c in zip(*rows, strict=True)], names), sink, **options
    )
    return bytes(sink.getvalue())


def put(client: "S3Client", bucket: str, stored: list[bytes], **changes: object) -> str:
    """Store an inventory of these data files; return its manifest's address."""
    entries = []
    for number, data in enumerate(stored):
        key = f"{FOLDER}/data/{number}"
        client.put_object(Bucket=bucket, Key=key, Body=data)
        md5 = hashlib.md5(data).hexdigest()
        entries.append({"key": key, "size": len(data), "MD5checksum": md5})
    manifest = {
        "sourceBucket": "photos",
        "destinationBucket": f"arn:aws:s3:::{bucket}",
        "version": "2016-11-30",
        "creationTimestamp": "1763600400000",
        "fileFormat": "CSV",
        "fileSchema": SCHEMA,
        "files": entries,
    }
    data = json.dumps(manifest | changes).encode()
    folder = f"{FOLDER}/2026-11-20T01-00Z"
    checksum = hashlib.md5(data).hexdigest().encode() + b"\n"
    client.put_object(Bucket=bucket, Key=f"{folder}/manifest.json", Body=data)
    client.put_object(Bucket=bucket, Key=f"{folder}/manifest.checksum", Body=checksum)
    return f"s3://{bucket}/{folder}/manifest.json"


def opened(storage: Storage, address: str, **options: object) -> Source:
    return open_source(storage, address, destination="s3://photos/results/", **options)


def test_an_inventory_is_read_like_a_listing_of_its_bucket(storage, s3_client, bucket):
    source = opened(storage, put(s3_client, bucket, [csv_file(ROWS)]))

    source.check()
    items = list(source.rows())

    assert source.kind == "inventory"
    rows = [item for item in items if isinstance(item, Row)]
    assert [(row.source, row.version) for row in rows] == [
        ("s3://photos/2024/img 001 a+.jpg", "v1"),
        ('s3://photos/a,"b".JPG', None),
    ]
    assert [(item.line, item.reason) for item in items if isinstance(item, Skipped)] == [
        (2, "an older version"),
        (3, "a delete marker"),
        (4, "a folder marker"),
        (5, "an empty object"),
    ]
    (bad,) = [item for item in items if isinstance(item, Rejected)]
    assert (bad.line, bad.field, bad.text) == (8, "source", "photos,%FF.jpg")


def test_parquet_has_the_same_rows_with_keys_as_they_are(storage, s3_client, bucket):
    rows = [
        ("photos", "a+b%20.jpg", "v1", True, False, 7),
        ("photos", "a+b%20.jpg", None, False, False, 7),
        ("photos", "gone.jpg", "v2", True, True, 0),
        ("photos", "empty.jpg", None, True, False, 0),
        ("photos", "c\0.jpg", "null", True, False, None),
    ]
    address = put(s3_client, bucket, [parquet_file(rows)], fileFormat="Parquet", fileSchema="…")

    row, *skipped, bad = opened(storage, address).rows()

    assert (row.source, row.version) == ("s3://photos/a+b%20.jpg", "v1")
    assert [type(item) for item in skipped] == [Skipped] * 3
    assert isinstance(bad, Rejected)
    assert "NUL" in bad.reason


def test_reading_goes_on_behind_any_cursor_over_several_files(storage, s3_client, bucket):
    many = [("photos", f"{n:04}.jpg", "", "true", "false", "9") for n in range(6)]
    csv = put(s3_client, bucket, [csv_file(ROWS), csv_file(many), csv_file(many)])
    found = {"csv": list(opened(storage, csv).rows())}
    assert [item.line for item in found["csv"]][-1] == len(ROWS) + 12
    for index, item in enumerate(found["csv"]):
        cursor = json.loads(json.dumps(item.cursor))
        assert list(opened(storage, csv).rows(cursor)) == found["csv"][index + 1 :]

    typed = [("photos", f"{n:04}.jpg", None, True, False, 9) for n in range(6)]
    files = [parquet_file(typed, row_group_size=4), parquet_file(typed)]
    address = put(s3_client, bucket, files, fileFormat="Parquet")
    items = list(opened(storage, address).rows())
    assert [item.line for item in items] == list(range(1, 13))
    for index, item in enumerate(items):
        assert list(opened(storage, address).rows(item.cursor)) == items[index + 1 :]


@pytest.mark.parametrize("format_", ["CSV", "Parquet"])
def test_a_data_file_with_another_checksum_ends_the_reading(storage, s3_client, bucket, format_):
    good = (
        csv_file(ROWS) if format_ == "CSV" else parquet_file([("p", "a.jpg", "", True, False, 1)])
    )
    address = put(s3_client, bucket, [good], fileFormat=format_)
    other = csv_file(ROWS[::-1]) if format_ == "CSV" else good + b"x"
    s3_client.put_object(Bucket=bucket, Key=f"{FOLDER}/data/0", Body=other)

    with pytest.raises(SourceUnreadable, match=r"its MD5 is .* as the inventory says"):
        list(opened(storage, address).rows())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"fileFormat": "ORC"}, "fileFormat .* CSV or Parquet"),
        ({"files": []}, "no data files"),
        ({"files": [{"key": "x", "size": 1, "MD5checksum": "0" * 32}]}, "missing"),
        ({"files": [{"key": "x", "size": 1}]}, "MD5checksum"),
        ({"destinationBucket": "a/b"}, "no bucket name"),
    ],
    ids=["orc", "none", "missing", "md5", "bucket"],
)
def test_a_manifest_that_will_not_do_is_refused(storage, s3_client, bucket, changes, reason):
    address = put(s3_client, bucket, [csv_file(ROWS)], **changes)

    with pytest.raises(SourceUnreadable, match=reason):
        opened(storage, address).check()


def test_a_manifest_that_is_not_the_one_of_its_checksum_is_refused(storage, s3_client, bucket):
    address = put(s3_client, bucket, [csv_file(ROWS)])
    key = f"{FOLDER}/2026-11-20T01-00Z/manifest.checksum"
    s3_client.put_object(Bucket=bucket, Key=key, Body=b"0" * 32)

    with pytest.raises(SourceUnreadable, match=r"manifest\.checksum beside it"):
        opened(storage, address).check()

    s3_client.delete_object(Bucket=bucket, Key=key)
    opened(storage, address).check()


def test_a_parquet_manifest_has_named_columns(tmp_path):
    table = pa.table(
        {
            "file_name": ["a.jpg", "sub/b.jpg", None],
            "text": ["x", None, "y"],
            "image": [b"bytes", b"are", b"left out"],
            "arguments": [{"scale": 2}, None, None],
        }
    )
    parquet.write_table(table, tmp_path / "metadata.parquet", row_group_size=2)
    address = str(file_address(str(tmp_path / "metadata.parquet")))
    source = open_source(open_storage(Settings()), address)

    source.check()
    first, second, bad = source.rows()

    assert source.kind == "parquet"
    assert first.source == str(file_address(str(tmp_path / "a.jpg")))
    assert (first.passthrough, first.arguments) == ({"text": "x"}, {"scale": 2})
    assert second.line == 2
    assert "missing" in bad.reason
    assert list(source.rows(first.cursor)) == [second, bad]


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    (tmp_path / "m").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    address = str(file_address(str(tmp_path / "m")))

    with pytest.raises(SourceUnreadable, match="is no Parquet file"):
        open_source(open_storage(Settings()), address).check()
    (tmp_path / "m").write_bytes(b"source\n")
    told = open_source(open_storage(Settings()), address, dialect=Dialect(format="parquet"))
    with pytest.raises(SourceUnreadable, match="is no Parquet file"):
        told.check()


def test_without_pyarrow_the_error_names_the_extra(tmp_path, monkeypatch):
    (tmp_path / "m.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)  # what an import of it then finds
    source = open_source(open_storage(Settings()), str(file_address(str(tmp_path / "m.parquet"))))

    with pytest.raises(SourceUnreadable, match=r"enlarger\[parquet\]"):
        source.check()
