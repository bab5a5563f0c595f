"""Batches over HTTP: the same desk as the commands', for one owner; and the commands through it."""

import json
from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from time import sleep
from typing import Any
from uuid import UUID

import httpx
import pytest
from sqlalchemy import text

from scheduler.api.following import TICK_S
from scheduler.errors import ApiRefused, BatchUnknown
from scheduler.ingest import Reader
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.loop import settle
from scheduler.remote import RemoteDesk
from scheduler.settings import Settings
from scheduler.storage import open_storage
from scheduler.submission import Order
from tests.api.live import Live, live
from tests.factories import make_batch, make_rejected, make_row
from tests.pictures import make_pixels, save
from tests.scheduler.command import enlarger
from tests.workers.test_completer import name_of, shut


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return a folder that batches over HTTP may name, with a picture in it."""
    folder = tmp_path / "place"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.png").write_bytes(save(make_pixels(8, 8), "PNG"))
    return folder


@pytest.fixture
def api(settings: Settings, place: Path) -> Iterator[Live]:
    with live(settings.model_copy(update={"api_places": (place.as_uri(),)})) as running:
        yield running


def make_order(place: Path, **overrides: Any) -> dict[str, Any]:
    fields = {"source": f"{place.as_uri()}/in/", "destination": f"{place.as_uri()}/out/"}
    return fields | overrides


def read_all(api: Live) -> None:
    reader = Reader(api.app.state.ledger, open_storage(api.settings), api.settings, read=print)
    while reader.step():
        pass


def end(ledger: Ledger, batch_id: UUID, state: str = "succeeded") -> None:
    """Let all jobs of a batch have ended, and its report be stored."""
    with ledger.begin() as session:
        session.execute(
            text(
                "update jobs set state = :state, ended_at = now(), error = cast(:error as jsonb)"
                " where batch_id = :id"
            ),
            {"id": batch_id, "state": state, "error": '{"message": "too dark"}'},
        )
        session.execute(
            text(f"insert into batch_deltas (batch_id, {state}) values (:id, 1)"), {"id": batch_id}
        )
    settle(ledger)
    with ledger.begin() as session:
        session.execute(text("update batches set reported_at = now()"))


def test_an_order_becomes_its_owner_s_batch_and_is_nobody_else_s(api: Live, place: Path) -> None:
    with api.client() as alice:
        made, again = (alice.post("/v1/batches", json=make_order(place)) for _ in range(2))
        id_ = made.json()["id"]
        found = alice.get(f"/v1/batches/{id_[-8:]}").json()
        listed = alice.get("/v1/batches").json()["batches"]
    bob = {"authorization": f"Key {api.make_key('bob')}"}
    with api.client(headers=bob) as other:
        theirs = [
            other.request(method, f"/v1/batches/{id_}{path}", json={"priority": 1}).status_code
            for method, path in (
                ("GET", ""), ("GET", "/jobs"), ("GET", "/results"), ("GET", "/events"),
                ("POST", "/cancel"), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/retry"),
                ("POST", "/prioritize"),
            )
        ]  # fmt: skip
        none = other.get("/v1/batches").json()["batches"]

    assert (made.status_code, made.json()["new"]) == (200, True)
    assert again.json() == {"id": id_, "new": False}
    assert (found["id"], found["state"], found["eta_s"]) == (id_, "reading", None)
    assert [each["id"] for each in listed] == [id_]
    assert set(theirs) == {404}
    assert none == []


def test_an_order_names_only_what_the_operator_allows(
    api: Live, place: Path, tmp_path: Path
) -> None:
    (tmp_path / "secret.png").write_bytes(b"")
    (place / "link").symlink_to(tmp_path)
    outside = (
        {"source": f"{tmp_path.as_uri()}/"},
        {"source": f"{place.as_uri()}/link/"},
        {"source": "s3://other/in/"},
        {"destination": f"{tmp_path.as_uri()}/out/"},
        {"source": f"{place.as_uri()}-2/"},
    )
    rows = [
        {"source": f"{place.as_uri()}/in/a.png"},
        {"source": f"{tmp_path.as_uri()}/secret.png"},
        {"source": f"{place.as_uri()}/link/secret.png"},
        {"source": f"{place.as_uri()}/in/a.png", "destination": "s3://other/a.png"},
    ]
    (place / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))

    with api.client() as client:
        refused = [client.post("/v1/batches", json=make_order(place, **each)) for each in outside]
        order = make_order(place, source=f"{place.as_uri()}/rows.jsonl")
        id_ = client.post("/v1/batches", json=order).json()["id"]
        read_all(api)
        jobs = client.get(f"/v1/batches/{id_}/jobs").json()["jobs"]

    assert {answer.status_code for answer in refused} == {403}
    assert "ENLARGER_API_PLACES" in refused[0].json()["detail"]
    assert [row["state"] for row in jobs] == ["waiting", "rejected", "rejected", "rejected"]
    assert [(row["error"] or {}).get("field") for row in jobs] == [
        None, "image_url", "image_url", "destination",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"destination": "file:///x/"}, "source"),
        ({"priority": 101}, "priority"),
        ({"arguments": {"scale": 99}}, "scale"),
        ({"endpoint": "no/such"}, None),
        ({"sauce": 1}, "sauce"),
        ({"source": "nowhere"}, None),
    ],
)
def test_a_bad_order_is_told_what_is_wrong(
    api: Live, place: Path, body: dict[str, Any], field: str | None
) -> None:
    order = make_order(place) | body if "destination" not in body else body
    with api.client() as client:
        answer = client.post("/v1/batches", json=order)

    assert answer.status_code == (404 if body.get("endpoint") else 422)
    if field is not None:
        assert answer.json()["detail"][0]["loc"] == ["body", field]


def test_rows_are_paged_and_streamed(api: Live) -> None:
    rows = [make_row(1), make_rejected(2), make_row(3)]
    id_ = make_batch(api.app.state.ledger, rows, owner="alice")
    with api.client() as client:
        first = client.get(f"/v1/batches/{id_}/jobs?limit=2").json()
        second = client.get(f"/v1/batches/{id_}/jobs?limit=2&after={first['next']}").json()
        failed = client.get(f"/v1/batches/{id_}/jobs?state=rejected").json()
        lines = client.get(f"/v1/batches/{id_}/results").text.splitlines()
        beyond = client.get(f"/v1/batches/{id_}/jobs?limit=1001")

    assert [row["line"] for row in first["jobs"]] == [1, 2]
    assert ([row["line"] for row in second["jobs"]], second["next"]) == ([3], None)
    assert [row["line"] for row in failed["jobs"]] == [2]
    assert [json.loads(line) for line in lines] == first["jobs"] + second["jobs"]
    assert beyond.status_code == 422


def test_a_stream_tells_of_each_change_and_ends_with_the_report(
    api: Live, postgres_url: str, database_url: str
) -> None:
    id_ = make_batch(api.app.state.ledger, 1, owner="alice")
    told: list[dict[str, Any]] = []
    afterwards = Ledger(api.settings, connections=1)  # with no connection yet that could be cut

    def follow() -> None:
        with api.client() as client, client.stream("GET", f"/v1/batches/{id_}/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    told.append(json.loads(line.removeprefix("data: ")))
                    if len(told) == 1:
                        with shut(postgres_url, name_of(database_url)):
                            sleep(2 * TICK_S)  # the stream's own look finds nobody there
                        end(afterwards, id_)

    following = Thread(target=follow)
    following.start()
    following.join(20)

    afterwards.close()
    assert not following.is_alive(), "the stream did not end"
    assert told[0]["succeeded"] == 0
    assert (told[-1]["succeeded"], told[-1]["state"]) == (1, "finished")
    assert told[-1]["reported_at"] is not None


def test_the_commands_ask_the_api_instead_of_the_ledger(api: Live, place: Path) -> None:
    desk = RemoteDesk(api.url, key=api.key)
    submitted = desk.submit(
        Order(**make_order(place), webhook="https://hooks.example/", priority=2)
    )
    id_ = desk.find(submitted.id.hex[-8:])
    read_all(api)
    (progress,) = desk.progress([id_])

    assert (submitted.new, id_, progress.total) == (True, submitted.id, 1)
    with api.app.state.ledger.begin() as session:
        told = session.scalar(
            text("select url from subscriptions where batch_id = :id"), {"id": id_}
        )
    assert told == "https://hooks.example/"
    assert [desk.pause(id_), desk.pause(id_), desk.resume(id_)] == [True, False, True]
    assert (desk.prioritize(id_, 5), desk.cancel(id_)) == (True, True)
    end(api.app.state.ledger, id_, "failed")
    (failure,) = desk.failures(id_, limit=5)
    assert (failure.state, failure.reason) == ("failed", "too dark")
    assert failure.source == f"{place.as_uri()}/in/a.png"
    assert [json.loads(line)["state"] for line in desk.lines(id_, only_failed=True)] == ["failed"]
    assert desk.retry(id_, [JobState.FAILED]) == 1
    assert [each.id for each in desk.latest(limit=3)] == [id_]
    assert desk.ready() == {}
    with pytest.raises(BatchUnknown):
        desk.find("00000000")
    with pytest.raises(ApiRefused, match="revoked"):
        RemoteDesk(api.url, key="no:key").latest(limit=1)

    alone = {"ENLARGER_API": api.url, "ENLARGER_KEY": api.key}
    shown = enlarger("status", str(id_), "--json", **alone)
    assert (shown.code, shown.json()["total"]) == (0, 1), shown.err
    assert enlarger("workers", **alone).code == 1
    assert httpx.get(f"{api.url}/v1/batches").status_code == 401
