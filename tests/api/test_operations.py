"""What orchestrators and operators see of a live server."""

import resource
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from scheduler.api import server
from scheduler.ledger import fleet, triggers
from scheduler.ledger.fleet import EndedFigure, Figures, StageFigure
from scheduler.ledger.session import database_time
from scheduler.settings import Settings
from tests.api.live import Live, live
from tests.factories import ENDPOINT, make_batch, make_worker
from tests.processes import eventually
from tests.workers.test_completer import name_of, shut

STAGE = StageFigure(ENDPOINT, "device", [0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 1], 400.5)


def scrape(api: Live) -> dict[tuple[str, ...], float]:
    """Return every sample's value by its name and its labels' values, by their names."""
    key = api.make_key("ops", scopes=("metrics",))
    answer = httpx.get(f"{api.url}/metrics", headers={"authorization": f"Bearer {key}"})
    assert answer.status_code == 200, answer.text
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


@pytest.fixture
def alone(settings: Settings) -> Iterator[Live]:
    """An API with a ledger in which nobody else does anything."""
    with live(settings) as running:
        yield running


def test_the_figures_are_those_of_the_ledger_and_of_http(alone: Live) -> None:
    ledger = alone.app.state.ledger
    make_batch(ledger, 3, priority=5)
    ended = [EndedFigure(ENDPOINT, "failed", "image_unreadable", 2, "request")]
    make_worker(ledger, name="lost:1", lease_s=-1)
    with ledger.begin() as session:
        fleet.bury(session, now=database_time(session))
    make_worker(ledger, figures=Figures(ended=ended, stages=[STAGE]), device="cpu of some make")
    make_worker(ledger, name="gone:1", lease_s=-1)
    with ledger.begin() as session:
        triggers.bury(session, source="a queue", reason="no JSON", body="?")
    httpx.get(f"{alone.url}/cdn/files/a/secret/b")

    found = scrape(alone)

    assert found["enlarger_jobs", ENDPOINT, "5", "waiting"] == 3
    assert found["enlarger_workers", "cpu", ENDPOINT, "idle"] == 2
    assert found["enlarger_workers_lost_hour",] == 1
    assert found["enlarger_batches", ENDPOINT, "5"] == 1
    assert (found["enlarger_leases", "kept"], found["enlarger_leases", "lapsed"]) == (1, 1)
    assert found["enlarger_deliveries", "undelivered"] == 0
    assert (found["enlarger_arrivals", "dead"], found["enlarger_arrivals", "held"]) == (1, 0)
    ended_as = ("image_unreadable", "request", "failed", "host:1")
    assert found["enlarger_jobs_ended_total", ENDPOINT, *ended_as] == 2
    seconds, of = "enlarger_job_stage_seconds", ("device", "host:1")
    assert found[f"{seconds}_bucket", ENDPOINT, "0.03", *of] == 2
    assert found[f"{seconds}_bucket", ENDPOINT, "300.0", *of] == 3
    assert found[f"{seconds}_count", ENDPOINT, *of] == 4
    assert found[f"{seconds}_sum", ENDPOINT, *of] == 400.5
    assert ("enlarger_http_requests_total", "GET", "/cdn/files/{file_id}/{mark}/{name}", "404") in (
        found
    )
    assert not any("secret" in part for sample in found for part in sample)


def test_a_server_may_have_as_many_connections_as_the_system_allows() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = before[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most // 2, most))
        server.raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_figures_need_a_key_for_them(api: Live) -> None:
    with api.client() as client:
        assert client.get("/metrics").status_code == 403
    assert httpx.get(f"{api.url}/metrics").status_code == 401


def test_a_server_is_ready_while_all_that_it_needs_answers(api: Live, settings: Settings) -> None:
    ready = httpx.get(f"{api.url}/readyz")
    away = settings.model_copy(
        update={
            "redis_url": SecretStr("redis://127.0.0.1:9/0"),
            "files": "s3://bucket/files/",
            "s3_endpoint_url": "http://127.0.0.1:9",
            "storage_attempts": 1,
        }
    )
    with live(away) as alone:
        unready = [httpx.get(f"{alone.url}/readyz") for _ in range(2)]
        healthy = httpx.get(f"{alone.url}/healthz")
        with alone.client() as client:
            place = client.post("/rest/storage/upload/initiate", json={}).json()
        lost = httpx.put(place["upload_url"], content=b"x")
        nothing = httpx.get(place["file_url"])

    assert (ready.status_code, ready.json()) == (
        200,
        {"database": True, "redis": True, "storage": True},
    )
    assert {answer.status_code for answer in unready} == {503}
    assert unready[-1].json() == {"database": True, "redis": False, "storage": False}
    assert healthy.json() == {"status": "ok"}
    assert (lost.status_code, nothing.status_code) == (503, 404)


def test_without_the_database_a_server_lives_and_says_so(
    alone: Live, postgres_url: str, database_url: str
) -> None:
    with alone.client() as client:

        def batches() -> int:
            return client.get("/v1/batches").status_code

        eventually(lambda: batches() == 200)
        with shut(postgres_url, name_of(database_url)):
            eventually(lambda: batches() == 503)
            ready, healthy = client.get("/readyz"), client.get("/healthz")
        eventually(lambda: batches() == 200)

    assert (ready.status_code, healthy.status_code) == (503, 200)
    assert ready.json() == {"database": False, "redis": True, "storage": True}
