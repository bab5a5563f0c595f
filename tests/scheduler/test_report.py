"""The three files that a finished batch leaves, made of real rows, in real stores."""

import json
import shutil
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from PIL import Image, UnidentifiedImageError
from uuid_utils.compat import uuid7

from models.errors import WorldError
from scheduler import report
from scheduler.errors import StorageUnavailable
from scheduler.ingest import Reader
from scheduler.ledger import batches, jobs, queueing
from scheduler.ledger.intake import NewJob
from scheduler.ledger.jobs import Ending
from scheduler.ledger.periods import job_id
from scheduler.ledger.queueing import Line
from scheduler.ledger.rows import RowRecord
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.tables import JobState
from scheduler.manifests import Row, open_source
from scheduler.report import desk
from scheduler.report.results import lines
from scheduler.settings import Settings
from scheduler.steering import Steerer
from scheduler.storage import Storage, address_of, open_storage
from scheduler.submission import Order, submit
from tests.factories import ENDPOINT, make_batch, make_rejected, make_row, make_worker
from tests.pictures import make_pixels, save

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

ERROR = {
    "code": "image_unreadable",
    "kind": "request",
    "message": "image_url: the file is empty (0 bytes)",
    "field": "image_url",
}


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return open_storage(settings)


def end(ledger: Ledger, batch: UUID, endings: dict[int, dict[str, Any]]) -> None:
    """Run a batch: its rows end as `endings` has it by line, others succeed with nothing."""
    worker = make_worker(ledger)
    with ledger.begin() as session:
        queued = queueing.take(
            session, Line(batch, ENDPOINT), limit=10_000, now=database_time(session)
        )
        tickets = [each.ticket for each in queued]
        held = jobs.claim(session, tickets, worker_id=worker, deadline_s=60)
        done = [
            Ending(
                **({"ticket": job.ticket, "state": JobState.SUCCEEDED} | endings.get(job.line, {}))
            )
            for job in held
        ]
        jobs.finish(session, done, worker_id=worker)
    with ledger.begin() as session:
        batches.fold(session)
        assert batches.end_complete(session) == [batch]


def success(address: str, data: bytes, source: bytes, *, etag: str = "1") -> dict[str, Any]:
    """Return an ending as a worker writes it."""
    outcome = {
        "objects": [
            {"address": address, "content_type": "image/png", **measured(data, "size_bytes")}
        ],
        "body": {"seed": 7},
        "input": {**measured(source, "bytes"), "etag": etag},
        "timings": {"fetch_s": 0.1, "device_s": 0.25},
        "worker": "host:1",
    }
    return {"outcome": json.dumps(outcome), "bytes_out": len(data), "device_s": 0.25}


def measured(data: bytes, name: str) -> dict[str, int]:
    try:
        with Image.open(BytesIO(data), formats=["PNG", "JPEG"]) as image:
            return {"width": image.width, "height": image.height, name: len(data)}
    except UnidentifiedImageError:
        return {"width": 1, "height": 1, name: len(data)}


def make_record(row: NewJob, ending: dict[str, Any]) -> RowRecord:
    """Return a row as the ledger gives it back once it has ended."""
    return RowRecord(
        id=uuid7(),
        line=row.line,
        state=JobState.SUCCEEDED,
        source=row.source,
        source_version=row.source_version,
        destination=row.destination,
        custom_id=row.custom_id,
        endpoint=row.endpoint,
        arguments={},
        passthrough=None,
        seed=row.seed,
        failures=0,
        started_at=None,
        ended_at=None,
        outcome=json.loads(ending["outcome"]),
        error=None,
    )


def failure(**error: Any) -> dict[str, Any]:
    return {"state": JobState.FAILED, "error": json.dumps(ERROR | error)}


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class Photos:
    """Pictures on the disk, and a batch of them that enlarges each two times."""

    def __init__(self, folder: Path) -> None:
        self.sources = folder / "photos"
        self.results = folder / "results"
        self.sources.mkdir()
        self.results.mkdir()
        self.rows: list[NewJob] = []
        self.endings: dict[int, dict[str, Any]] = {}

    def add(self, name: str, source: bytes, result: bytes, **columns: Any) -> None:
        """Store a picture and its result; the ledger believes the worker about their sizes."""
        place = self.sources / name
        place.write_bytes(source)
        target = self.results / f"{place.stem}.png"
        target.write_bytes(result)
        line = len(self.rows) + 1
        self.rows.append(make_row(line, source=uri(place), destination=uri(target), **columns))
        etag = open_storage(Settings()).stat(uri(place)).etag
        self.endings[line] = success(uri(target), result, source, etag=etag)

    def report(self, ledger: Ledger, storage: Storage) -> str:
        batch = make_batch(
            ledger,
            self.rows,
            source=uri(self.sources) + "/",
            destination=uri(self.results) + "/",
        )
        end(ledger, batch, self.endings)
        report.write(ledger, storage, batch)
        return (self.results / "report.html").read_text()


def uri(path: Path) -> str:
    return address_of(str(path))


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    return Photos(tmp_path)


def destination(folder: Path) -> dict[str, Any]:
    return {"destination": uri(folder) + "/"}


def test_every_row_has_its_line_in_the_order_of_the_manifest(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    rows = [make_row(3), make_row(1), make_rejected(2), make_row(4)]
    batch = make_batch(ledger, rows, **destination(tmp_path))
    end(ledger, batch, {3: failure(), 4: {"state": JobState.CANCELLED}})

    report.write(ledger, storage, batch)

    found = read_lines(tmp_path / "results.jsonl")
    states = [(line["line"], line["state"]) for line in found]
    assert states == [(1, "succeeded"), (2, "rejected"), (3, "failed"), (4, "cancelled")]


def test_a_line_says_everything_about_a_result(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    source, result = save(make_pixels(8, 6), "PNG"), save(make_pixels(16, 12), "PNG")
    row = make_row(1, custom_id="b-17", arguments='{"scale": 2}', seed=5, source_version="v3")
    batch = make_batch(ledger, [row], **destination(tmp_path))
    end(ledger, batch, {1: success("file:///results/1.png", result, source)})

    report.write(ledger, storage, batch)

    (found,) = read_lines(tmp_path / "results.jsonl")
    assert 0 <= found.pop("total_s") < 60
    assert found.pop("ended_at").endswith("+00:00")
    assert found.pop("objects")[0]["content_type"] == "image/png"
    assert found == {
        "line": 1,
        "id": "b-17",
        "job_id": str(job_id(batch, 1)),
        "state": "succeeded",
        "source": "file:///photos/1.png",
        "version_id": "v3",
        "destination": "file:///results/1.png",
        "input_width": 8,
        "input_height": 6,
        "input_bytes": len(source),
        "output_width": 16,
        "output_height": 12,
        "output_bytes": len(result),
        "existing": False,
        "reused_from": None,
        "device_s": 0.25,
        "worker": "host:1",
        "failures": 0,
        "endpoint": ENDPOINT,
        "arguments": {"scale": 2},
        "seed": 7,
        "weights": None,
        "model_notes": None,
        "error": None,
    }


def test_a_failure_keeps_its_error_but_not_the_traceback(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    batch = make_batch(ledger, 1, **destination(tmp_path))
    end(ledger, batch, {1: failure(traceback="Traceback of secrets")})

    report.write(ledger, storage, batch)

    (found,) = read_lines(tmp_path / "results.jsonl")
    assert found["error"] == ERROR
    assert (found["objects"], found["output_bytes"]) == ([], None)


def test_columns_of_the_users_own_pass_through_and_replace_none_of_ours(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    theirs = {"album": "Ünïcode", "state": "mine", "error": {"old": 1}, "passthrough": 3}
    row = make_row(1, passthrough=json.dumps(theirs))
    batch = make_batch(ledger, [row], **destination(tmp_path))
    end(ledger, batch, {})

    report.write(ledger, storage, batch)

    (found,) = read_lines(tmp_path / "results.jsonl")
    assert (found["album"], found["state"], found["error"]) == ("Ünïcode", "succeeded", None)
    assert found["passthrough"] == {"state": "mine", "error": {"old": 1}, "passthrough": 3}


def test_the_failed_rows_are_a_manifest_that_asks_for_the_same_again(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    rows = [
        make_row(1),
        make_row(
            2,
            source="file:///photos/a%20b.jpg",
            destination=f"{uri(tmp_path)}/deep/a%20b.png",
            custom_id="b-17",
            arguments='{"scale": 4}',
            passthrough='{"album": "summer", "error": "of an earlier try"}',
        ),
        make_row(3, source="s3://photos/c?.jpg", source_version="v1", destination="s3://o/c.png"),
        make_rejected(4),
    ]
    batch = make_batch(ledger, rows, **destination(tmp_path))
    end(ledger, batch, {2: failure(), 3: {"state": JobState.CANCELLED}})

    report.write(ledger, storage, batch)

    source = open_source(storage, uri(tmp_path / "failed.jsonl"))
    source.check()
    first, second = (item for item in source.rows() if isinstance(item, Row))
    assert (first.source, first.destination) == ("file:///photos/a%20b.jpg", "deep/a b.png")
    assert (first.custom_id, first.arguments) == ("b-17", {"scale": 4})
    assert first.passthrough == {"album": "summer", "error": ERROR}
    assert (second.source, second.version) == ("s3://photos/c?.jpg", "v1")
    assert second.destination == "s3://o/c.png"
    assert second.passthrough["error"]["code"] == "cancelled"


def test_a_rejected_row_that_named_a_source_is_listed_as_it_was_written(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    written = {"source": "s3://photos/a.png", "arguments": [2], "album": "summer"}
    error = {"code": "row_invalid", "message": "line 1: bad", "field": "arguments"}
    text = json.dumps({**error, "text": json.dumps(written)})
    row = make_row(1, source=None, destination=None, error=text)
    batch = make_batch(ledger, [row], **destination(tmp_path))
    end(ledger, batch, {})

    report.write(ledger, storage, batch)

    (found,) = read_lines(tmp_path / "failed.jsonl")
    assert found.pop("error")["message"] == "line 1: bad"
    assert found == written


def test_a_row_whose_destination_was_taken_is_not_listed_for_a_retry(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    rows = [make_row(1), make_row(2, destination="file:///results/1.png")]
    batch = make_batch(ledger, rows, **destination(tmp_path))
    end(ledger, batch, {})

    report.write(ledger, storage, batch)

    assert [line["state"] for line in read_lines(tmp_path / "results.jsonl")][1] == "rejected"
    assert not (tmp_path / "failed.jsonl").exists()


def test_an_error_that_would_make_a_row_too_long_to_read_is_left_out(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    row = make_row(1, passthrough=json.dumps({"note": "n" * (2**20 - 400)}))
    batch = make_batch(ledger, [row], **destination(tmp_path))
    end(ledger, batch, {1: failure(message="m" * 1000)})

    report.write(ledger, storage, batch)

    (found,) = open_source(storage, uri(tmp_path / "failed.jsonl")).rows()
    assert isinstance(found, Row)
    assert found.passthrough["error"] is None


def test_a_batch_without_failures_removes_the_list_of_an_earlier_one(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    (tmp_path / "failed.jsonl").write_text('{"source": "s3://old/a.png"}\n')
    batch = make_batch(ledger, 1, **destination(tmp_path))
    end(ledger, batch, {})

    report.write(ledger, storage, batch)

    assert not (tmp_path / "failed.jsonl").exists()


def test_a_report_can_be_written_again(ledger: Ledger, storage: Storage, photos: Photos) -> None:
    photos.add("a.png", save(make_pixels(8, 6), "PNG"), save(make_pixels(16, 12), "PNG"))
    first = photos.report(ledger, storage)
    with ledger.begin() as session:
        (batch,) = batches.unreported(session)

    report.write(ledger, storage, batch.id)

    assert (photos.results / "report.html").read_text() == first
    assert len(list(photos.results.iterdir())) == 4


def test_the_lines_of_a_batch_can_be_had_before_it_ends(ledger: Ledger) -> None:
    batch = make_batch(ledger, [make_row(1), make_rejected(2)])

    states = [json.loads(line)["state"] for line in lines(ledger, batch)]
    failed = [json.loads(line)["line"] for line in lines(ledger, batch, only_failed=True)]

    assert (states, failed) == (["waiting", "rejected"], [2])


def test_memory_does_not_grow_with_the_batch(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    import tracemalloc

    small = make_batch(ledger, [make_row(1)], **destination(tmp_path / "small"))
    report.write(ledger, storage, small)  # loads once a process what is not the batch's
    note = json.dumps({"note": "n" * 2000})
    rows = [make_row(line, passthrough=note) for line in range(1, 8001)]
    batch = make_batch(ledger, rows, **destination(tmp_path))
    del rows
    end(ledger, batch, {line: failure() for line in range(1, 8001)})

    tracemalloc.start()
    report.write(ledger, storage, batch)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    found = [line["line"] for line in read_lines(tmp_path / "results.jsonl")]
    assert found == list(range(1, 8001))
    assert (tmp_path / "results.jsonl").stat().st_size > 20_000_000
    assert peak < 18_000_000


def test_a_report_goes_to_s3_as_well(
    ledger: Ledger, settings: Settings, s3_url: str, s3_client: "S3Client", bucket: str
) -> None:
    storage = open_storage(settings.model_copy(update={"s3_endpoint_url": s3_url}))
    picture, result = save(make_pixels(8, 6), "PNG"), save(make_pixels(16, 12), "PNG")
    etag = s3_client.put_object(Bucket=bucket, Key="in/?.png", Body=picture)["ETag"].strip('"')
    s3_client.put_object(Bucket=bucket, Key="out/?.png", Body=result)
    target = f"s3://{bucket}/out/?.png"
    rows = [make_row(1, source=f"s3://{bucket}/in/?.png", destination=target), make_row(2)]
    batch = make_batch(ledger, rows, destination=f"s3://{bucket}/out/")
    end(ledger, batch, {1: success(target, result, picture, etag=etag), 2: failure()})

    report.write(ledger, storage, batch)

    kept = {
        name: s3_client.get_object(Bucket=bucket, Key=f"out/{name}")
        for name in ("results.jsonl", "failed.jsonl", "report.html")
    }
    types = [each["ContentType"] for each in kept.values()]
    assert types == ["application/x-ndjson", "application/x-ndjson", "text/html; charset=utf-8"]
    assert kept["results.jsonl"]["Body"].read().count(b"\n") == 2
    page = kept["report.html"]["Body"].read().decode()
    assert page.count("data:image/jpeg") == 4
    assert 'href="./%3F.png"' in page


def test_a_store_that_is_down_is_the_worlds_fault(ledger: Ledger, settings: Settings) -> None:
    nobody = {"s3_endpoint_url": "http://127.0.0.1:9", "storage_attempts": 1}
    batch = make_batch(ledger, 1, destination="s3://bucket/results/")
    end(ledger, batch, {})

    with pytest.raises(StorageUnavailable):
        report.write(ledger, open_storage(settings.model_copy(update=nobody)), batch)


def test_a_full_disk_is_the_worlds_fault(
    ledger: Ledger, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = make_batch(ledger, 1, **destination(tmp_path))
    end(ledger, batch, {})
    monkeypatch.setattr(desk.tempfile, "tempdir", str(tmp_path / "gone"))

    with pytest.raises(WorldError, match="free space or set TMPDIR"):
        report.write(ledger, storage, batch)


def test_an_unfinished_retry_keeps_the_manifest_that_it_was_reading(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    manifest = tmp_path / "failed.jsonl"
    manifest.write_text('{"source": "s3://photos/never-read.png"}\n')
    batch = make_batch(ledger, 1, source=uri(manifest), **destination(tmp_path))
    with ledger.begin() as session:
        batches.get(session, batch).read_at = None
        batches.cancel(session, batch)
    Steerer(ledger).step()

    report.write(ledger, storage, batch)

    assert "never-read" in manifest.read_text()


def test_the_manifest_of_failures_of_a_whole_folder_can_be_moved(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    row = make_row(1, destination=f"{uri(tmp_path)}/a.png")
    batch = make_batch(ledger, [row], **destination(tmp_path))
    end(ledger, batch, {1: failure()})
    report.write(ledger, storage, batch)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    shutil.move(tmp_path / "failed.jsonl", elsewhere / "again.jsonl")

    (found,) = open_source(storage, uri(elsewhere / "again.jsonl")).rows()
    assert isinstance(found, Row)
    assert found.destination == "a.png"


def test_a_rejected_row_is_listed_with_all_that_it_asked_for(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    asked = {
        "source": "s3://photos/a.png",
        "destination": "deep/a.png",
        "id": "b-17",
        "arguments": {"scale": 99},
        "album": "summer",
    }
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text(json.dumps(asked) + "\n")
    order = Order(source=uri(manifest), **destination(tmp_path))
    batch = submit(ledger, storage, order).id
    reader = Reader(ledger, storage, settings, read=lambda: None)
    while reader.step():
        pass

    report.write(ledger, storage, batch)

    (found,) = read_lines(tmp_path / "failed.jsonl")
    assert found.pop("error")["field"] == "scale"
    assert found.pop("arguments")["scale"] == 99
    assert found == {name: value for name, value in asked.items() if name != "arguments"}
    (line,) = read_lines(tmp_path / "results.jsonl")
    assert (line["album"], line["arguments"]["scale"], line["id"]) == ("summer", 99, "b-17")
