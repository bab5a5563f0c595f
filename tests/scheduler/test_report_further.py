"""The parts of a report that not every batch has: a table, and AWS's completion report."""

import csv
import hashlib
import json
from pathlib import Path
from uuid import UUID

import pytest
from pyarrow import parquet

from scheduler import report
from scheduler.ingest import Reader
from scheduler.ledger import batches
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.manifests import Dialect, Row, open_source
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage
from scheduler.submission import Order, submit
from tests.factories import ENDPOINT, make_batch, make_rejected, make_row
from tests.scheduler.test_report import destination, end, failure, read_lines, success, uri


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return open_storage(settings)


def submitted(ledger: Ledger, storage: Storage, settings: Settings, path: Path) -> UUID:
    """Submit and read a manifest whose results go beside it."""
    order = Order(source=uri(path), destination=f"{uri(path.parent)}/out/", endpoint=ENDPOINT)
    batch = submit(ledger, storage, order).id
    reader = Reader(ledger, storage, settings, read=lambda: None)
    while reader.step():
        pass
    return batch


def cells(path: Path) -> list[list[str]]:
    return list(csv.reader(path.read_text().splitlines()))


def test_a_batch_operations_source_is_answered_with_its_completion_report(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    written = ["a%20b%2Bc%25.jpg", "sub/%C3%A9.jpg,v7", "gone.jpg", "busy.jpg", "off.jpg"]
    doubled = [*written, "off.png", "in/", "bad,row,with,five"]
    (tmp_path / "m.csv").write_text("".join(f"photos,{row}\n" for row in doubled))
    batch = submitted(ledger, storage, settings, tmp_path / "m.csv")
    endings = {
        1: success("s3://large/1.png", b"x", b"y"),
        2: success("s3://large/2.png", b"x", b"y"),
        3: failure(code="object_missing", message='image_url: nothing there, "sorry"'),
        4: failure(kind="world", code="storage_unavailable"),
        5: {"state": JobState.CANCELLED},
    }
    end(ledger, batch, endings)

    report.write(ledger, storage, batch)

    folder = tmp_path / "out" / f"job-{batch}"
    manifest = json.loads((folder / "manifest.json").read_text())
    parts = {each["TaskExecutionStatus"]: each for each in manifest["Results"]}
    assert manifest["Format"] == "Report_CSV_20180820"
    assert {status: part["Key"] for status, part in parts.items()} == {
        status: str(folder / "results" / f"{status}.csv") for status in ("succeeded", "failed")
    }
    data = (folder / "results" / "failed.csv").read_bytes()
    assert parts["failed"]["MD5Checksum"] == hashlib.md5(data).hexdigest()
    succeeded = cells(folder / "results" / "succeeded.csv")
    assert succeeded == [
        ["photos", "a%20b%2Bc%25.jpg", "", "succeeded", "200", "", "s3://large/1.png"],
        ["photos", "sub/%C3%A9.jpg", "v7", "succeeded", "200", "", "s3://large/2.png"],
    ]
    failed = cells(folder / "results" / "failed.csv")
    assert [row[1:6] for row in failed] == [
        ["gone.jpg", "", "failed", "404", "PermanentFailure"],
        ["busy.jpg", "", "failed", "503", "TemporaryFailure"],
        ["off.jpg", "", "failed", "400", "TemporaryFailure"],
    ]
    assert failed[0][6] == 'image_url: nothing there, "sorry"'


def test_the_failed_part_without_its_last_columns_is_a_manifest(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    source = tmp_path / "m.csv"
    source.write_text("photos,a%20b%2Bc%25.jpg,v1\nphotos,100%+.jpg,\n")
    batch = submitted(ledger, storage, settings, source)
    end(ledger, batch, {1: failure(), 2: failure()})
    report.write(ledger, storage, batch)
    rows = cells(tmp_path / f"out/job-{batch}/results/failed.csv")
    again = tmp_path / "again.csv"
    again.write_text("".join(",".join(row[:-4]) + "\n" for row in rows))
    whole = open_source(
        storage,
        uri(tmp_path / f"out/job-{batch}/results/failed.csv"),
        dialect=Dialect(fields=("Bucket", "Key", "VersionId", *["Ignore"] * 4)),
    )

    retried = submitted(ledger, storage, settings, again)

    with ledger.begin() as session:
        assert batches.progress(session, retried).total == 2
    for found in (open_source(storage, uri(again)), whole):
        first, second = (row for row in found.rows() if isinstance(row, Row))
        assert (first.source, first.version) == ("s3://photos/a b+c%.jpg", "v1")
        assert (second.source, second.version) == ("s3://photos/100%+.jpg", None)


def test_a_batch_of_another_kind_or_of_local_files_has_no_completion_report(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    plain = make_batch(ledger, 1, **destination(tmp_path))
    options = '{"in_place": false, "completion_report": true}'
    of_files = make_batch(ledger, 1, options=options, **destination(tmp_path))

    for batch in (plain, of_files):
        end(ledger, batch, {})
        report.write(ledger, storage, batch)

    assert sorted(each.name for each in tmp_path.iterdir()) == [
        "report.html",
        "results.jsonl",
        "results.parquet",
    ]


def test_the_table_has_the_columns_of_the_lines(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    rows = [
        make_row(1, passthrough='{"album": "Ünïcode", "state": 1}', arguments='{"scale": 2}'),
        make_rejected(2),
        make_row(3, seed=2**31 - 2),
    ]
    batch = make_batch(ledger, rows, **destination(tmp_path))
    end(ledger, batch, {1: success("file:///r/1.png", b"x", b"y"), 3: failure()})

    report.write(ledger, storage, batch)

    table = parquet.read_table(tmp_path / "results.parquet")
    lines = read_lines(tmp_path / "results.jsonl")
    for values, line in zip(table.to_pylist(), lines, strict=True):
        own = values.pop("passthrough")
        for name in ("objects", "arguments", "weights", "model_notes", "error"):
            values[name] = values[name] and json.loads(values[name])
        values["ended_at"] = values["ended_at"].isoformat()
        assert values == {name: line[name] for name in values}
        assert set(line) - {"album", "passthrough"} == set(values)
        assert own is None or json.loads(own) == {"album": "Ünïcode", "state": 1}
