import json
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from models.errors import ArgumentInvalid, UnknownEndpoint
from scheduler.errors import DestinationUnwritable, KeyReused, NobodyReady, SourceUnreadable
from scheduler.ingest import Reader
from scheduler.ledger import batches
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import Job
from scheduler.manifests import Dialect, Encoding, Source, open_source
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage
from scheduler.submission import Order, submit
from tests.factories import ENDPOINT, make_submission, make_worker


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return open_storage(settings)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(5):
        (folder / f"{number}.jpg").write_bytes(b"not looked at here")
    return folder


def order(source: Path, **overrides: object) -> Order:
    fields = {"source": source.as_uri(), "destination": (source.parent / "out").as_uri()}
    return Order(**fields | overrides)


def read_all(ledger: Ledger, storage: Storage, settings: Settings) -> Reader:
    reader = Reader(ledger, storage, settings, read=lambda: None)
    while reader.step():
        pass
    return reader


def rows(ledger: Ledger, batch: UUID) -> list[Job]:
    with ledger.begin() as session:
        return list(session.scalars(select(Job).where(Job.batch_id == batch).order_by(Job.line)))


def manifest(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines))
    return path


def test_a_folder_becomes_one_job_an_image(
    ledger: Ledger, storage: Storage, settings: Settings, photos: Path
) -> None:
    (photos / "notes.txt").write_text("no image")
    batch = submit(ledger, storage, order(photos)).id

    read_all(ledger, storage, settings)

    jobs = rows(ledger, batch)
    assert [job.source for job in jobs] == [(photos / f"{n}.jpg").as_uri() for n in range(5)]
    assert [Path(job.destination).name for job in jobs] == [f"{n}.png" for n in range(5)]
    with ledger.begin() as session:
        progress = batches.progress(session, batch)
    assert (progress.state, progress.total) == ("open", 5)


def test_a_bad_row_is_rejected_and_the_rest_goes_on(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    good = {"source": "s3://photos/a.jpg", "id": "a", "label": 3}
    path = manifest(
        tmp_path,
        good,
        "{not json",
        {"source": "s3://photos/b.jpg", "arguments": {"scale": "huge"}},
        {"source": "s3://photos/c.jpg", "arguments": {"scale": 3}},
        {"source": "s3://photos/d.jpg", "label": "a\x00b"},
    )
    batch = submit(ledger, storage, order(path)).id

    read_all(ledger, storage, settings)

    found = rows(ledger, batch)
    assert [job.state for job in found] == [
        "waiting", "rejected", "rejected", "waiting", "rejected",
    ]  # fmt: skip
    assert found[0].passthrough == {"label": 3}
    assert found[0].custom_id == "a"
    assert found[2].error["field"] == "scale"
    assert found[2].line == 3
    assert "huge" in found[2].error["message"]
    assert found[2].source == "s3://photos/b.jpg"
    assert found[3].arguments["scale"] == 3.0


def test_reading_goes_on_from_the_committed_cursor(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    path = manifest(tmp_path, *({"source": f"s3://photos/{n}.jpg"} for n in range(450)))
    batch = submit(ledger, storage, order(path)).id
    small = settings.model_copy(update={"ingest_rows": 7})

    for _ in range(20):  # each reader reads one chunk and is killed
        Reader(ledger, storage, small, read=lambda: None).step()
    read_all(ledger, storage, small)

    assert [job.line for job in rows(ledger, batch)] == list(range(1, 451))
    with ledger.begin() as session:
        assert batches.progress(session, batch).total == 450


def test_two_readers_that_take_turns_read_every_row_once(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    path = manifest(tmp_path, *({"source": f"s3://photos/{n}.jpg"} for n in range(400)))
    batch = submit(ledger, storage, order(path)).id
    small = settings.model_copy(update={"ingest_rows": 7})
    readers = [Reader(ledger, storage, small, read=lambda: None) for _ in range(2)]

    for turn in range(60):  # what one has made ahead, the other may have read meanwhile
        readers[turn % 7 % 2].step()
        if turn == 30:
            other = submit(ledger, storage, order(path, again=True, priority=5)).id
    while readers[0].step() or readers[1].step():
        pass

    assert [job.line for job in rows(ledger, batch)] == list(range(1, 401))
    assert [job.line for job in rows(ledger, other)] == list(range(1, 401))


def test_the_same_source_arguments_and_destination_are_the_same_batch(
    ledger: Ledger, storage: Storage, photos: Path
) -> None:
    first = submit(ledger, storage, order(photos))
    second = submit(ledger, storage, order(photos))
    other = submit(ledger, storage, order(photos, arguments={"scale": 3}))
    again = submit(ledger, storage, order(photos, again=True))

    assert (first.new, second.new, other.new, again.new) == (True, False, True, True)
    assert second.id == first.id
    assert len({first.id, other.id, again.id}) == 3


def test_a_changed_folder_is_another_batch(ledger: Ledger, storage: Storage, photos: Path) -> None:
    first = submit(ledger, storage, order(photos))
    (photos / "new.jpg").write_bytes(b"x")

    assert submit(ledger, storage, order(photos)).id != first.id


def test_a_reused_idempotency_key_is_refused(
    ledger: Ledger, storage: Storage, photos: Path
) -> None:
    submit(ledger, storage, order(photos, idempotency_key="k"))

    same = submit(ledger, storage, order(photos, idempotency_key="k"))
    with pytest.raises(KeyReused, match="use another key"):
        submit(ledger, storage, order(photos, idempotency_key="k", arguments={"scale": 3}))

    assert not same.new


@pytest.mark.parametrize(
    ("overrides", "error", "field"),
    [
        ({"endpoint": "fal-ai/none"}, UnknownEndpoint, "endpoint"),
        ({"arguments": {"scale": 1000}}, ArgumentInvalid, "scale"),
        ({"arguments": {"scael": 2}}, ArgumentInvalid, "scael"),
        ({"destination": "file:///proc/nowhere/"}, DestinationUnwritable, "destination"),
    ],
)
def test_what_can_be_refused_at_once_is(
    ledger: Ledger,
    storage: Storage,
    photos: Path,
    overrides: dict[str, object],
    error: type[Exception],
    field: str,
) -> None:
    with pytest.raises(error) as caught:
        submit(ledger, storage, order(photos, **overrides))

    assert caught.value.field == field
    with ledger.begin() as session:
        assert batches.latest(session, limit=1) == []


def test_what_no_living_worker_can_do_is_refused_and_says_why(
    ledger: Ledger, storage: Storage, photos: Path
) -> None:
    make_worker(ledger, ready=(), not_ready={ENDPOINT: "its weights are not there"})

    with pytest.raises(NobodyReady, match="its weights are not there"):
        submit(ledger, storage, order(photos, endpoint=ENDPOINT))
    make_worker(ledger)

    assert submit(ledger, storage, order(photos, endpoint=ENDPOINT)).new


def test_what_was_submitted_before_is_found_again_though_nobody_can_do_it_now(
    ledger: Ledger, storage: Storage, photos: Path
) -> None:
    first = submit(ledger, storage, order(photos, endpoint=ENDPOINT))
    make_worker(ledger, ready=(), not_ready={ENDPOINT: "its weights are not there"})

    again = submit(ledger, storage, order(photos, endpoint=ENDPOINT))

    assert (again.id, again.new) == (first.id, False)


def test_a_row_whose_own_variant_nobody_has_is_rejected_with_the_reason(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    endpoint = "fal-ai/seedvr/upscale/image"
    make_worker(
        ledger, ready=(f"{endpoint}#3b",), not_ready={f"{endpoint}#7b": "run `weights pull`"}
    )
    source = {"source": (tmp_path / "a.jpg").as_uri()}
    rows_ = manifest(tmp_path, source, source | {"arguments": {"variant": "7b"}})
    batch = submit(ledger, storage, order(rows_, endpoint=endpoint)).id

    read_all(ledger, storage, settings)

    good, bad = rows(ledger, batch)
    assert (good.state, good.pipeline) == ("waiting", f"{endpoint}#3b")
    assert bad.state == "rejected"
    assert "run `weights pull`" in bad.error["message"]


def test_a_folder_is_never_its_own_destination(
    ledger: Ledger, storage: Storage, photos: Path
) -> None:
    with pytest.raises(DestinationUnwritable, match="in-place"):
        submit(ledger, storage, order(photos, destination=photos.as_uri()))


def test_a_file_that_is_no_manifest_is_refused(
    ledger: Ledger, storage: Storage, tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("dear diary\n")

    with pytest.raises(SourceUnreadable):
        submit(ledger, storage, order(text))


def test_a_manifest_that_changed_under_the_reader_is_unreadable_and_says_so(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    path = manifest(tmp_path, *({"source": f"s3://photos/{n}.jpg"} for n in range(300)))
    batch = submit(ledger, storage, order(path)).id
    Reader(ledger, storage, settings, read=lambda: None).step()
    path.write_text(json.dumps({"source": "s3://photos/other.jpg"}))

    read_all(ledger, storage, settings)

    with ledger.begin() as session:
        progress = batches.progress(session, batch)
    assert progress.state == "unreadable"
    assert "changed" in progress.reason
    assert progress.total == 100


def test_a_source_whose_store_is_away_holds_up_no_other(
    ledger: Ledger, settings: Settings, photos: Path
) -> None:
    away = settings.model_copy(
        update={"s3_endpoint_url": "http://127.0.0.1:1", "storage_attempts": 1}
    )
    storage = open_storage(away)
    older = make_submission(
        source="s3://photos/rows.jsonl", options='{"include": [], "exclude": []}'
    )
    with ledger.begin() as session:
        batches.submit(session, older, again=False)
    newer = submit(ledger, storage, order(photos)).id

    Reader(ledger, storage, away, read=lambda: None).step()

    assert len(rows(ledger, newer)) == 5
    with ledger.begin() as session:
        assert batches.progress(session, older.id).state == "reading"


def test_a_bug_met_by_one_source_stops_that_batch_and_no_other(
    ledger: Ledger,
    storage: Storage,
    settings: Settings,
    tmp_path: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = submit(ledger, storage, order(manifest(tmp_path, {"source": "s3://p/1.jpg"}))).id
    healthy = submit(ledger, storage, order(photos)).id

    def opened(storage: Storage, address: str, **rest: object) -> Source:
        if address.endswith(".jsonl"):
            raise ZeroDivisionError
        return open_source(storage, address, **rest)

    monkeypatch.setattr("scheduler.ingest.open_source", opened)
    read_all(ledger, storage, settings)

    with ledger.begin() as session:
        progress = batches.progress(session, broken)
    assert progress.state == "unreadable"
    assert "in opened" in progress.reason
    assert "ZeroDivisionError" in progress.reason
    assert len(rows(ledger, healthy)) == 5


def test_a_batch_with_more_bad_rows_than_allowed_is_cancelled_and_says_why(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("".join(f"photos,{n}.jpg\nbad\nphotos,{n}.jpg\n" for n in range(200)))
    batch = submit(ledger, storage, order(path, max_rejected=100)).id
    enough = submit(ledger, storage, order(path, max_rejected=400)).id

    read_all(ledger, storage, settings.model_copy(update={"ingest_rows": 50}))

    with ledger.begin() as session:
        cancelled, kept = batches.progress(session, batch), batches.progress(session, enough)
    assert cancelled.state == "cancelled"
    assert cancelled.rejected <= 150
    assert "more than --max-rejected 100" in cancelled.reason
    assert (kept.state, kept.total, kept.rejected) == ("open", 600, 400)


def test_what_was_said_about_a_manifest_is_kept_with_its_batch(
    ledger: Ledger, storage: Storage, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "rows"
    path.write_text("x,photos,a+b%20c.jpg\n")
    fields = ("Ignore", "Bucket", "Key")
    urls = Dialect(format="csv", fields=fields, encoding=Encoding.URL)
    auto = Dialect(format="csv", fields=fields)
    one = submit(ledger, storage, order(path, dialect=urls)).id
    two = submit(ledger, storage, order(path, dialect=auto)).id

    read_all(ledger, storage, settings)

    (first,), (second,) = rows(ledger, one), rows(ledger, two)
    assert (first.source, first.source_alternative) == ("s3://photos/a b c.jpg", None)
    assert second.source_alternative == "s3://photos/a+b%20c.jpg"
