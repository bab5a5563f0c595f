"""What holds for every route: areas, addresses, errors, keys, bodies. The routes are probes."""

import socket
import time
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from fastapi import APIRouter, Request

from scheduler.api import bodies
from scheduler.api.edge import visit_of
from scheduler.api.errors import BodyInvalid
from scheduler.api.keyring import RequestsCaller
from scheduler.api.places import Area
from scheduler.settings import Settings
from tests.api.live import Live, live

probes = APIRouter()


@probes.get("/queue/probe")
async def see_queue(request: Request) -> dict[str, str]:
    bases = visit_of(request).bases
    return {"queue": bases.of(Area.QUEUE), "cdn": bases.of(Area.CDN), "query": request.url.query}


@probes.get("/run/probe")
async def see_caller(caller: RequestsCaller) -> dict[str, str]:
    return {"owner": caller.owner}


@probes.post("/rest/probe")
async def see_body(request: Request) -> Any:
    return await bodies.read_object(request, max_bytes=1000)


@probes.get("/rest/broken")
def break_down() -> None:
    raise ZeroDivisionError


@pytest.fixture
def api(settings: Settings) -> Iterator[Live]:
    trusting = settings.model_copy(update={"trusted_proxies": (ip_network("127.0.0.1/32"),)})
    with live(trusting, probes) as running:
        yield running


def test_areas_are_selected_by_host_or_path_and_addresses_are_as_the_caller_sees_them(
    api: Live,
) -> None:
    own = api.url.removeprefix("http://")
    with api.client() as client:
        by_path = client.get("/queue/probe/").json()
        by_host = client.get("/probe", headers={"host": "queue.fal.run"}).json()
        forwarded = client.get(
            "/queue/probe",
            headers={"x-forwarded-proto": "https", "x-forwarded-host": "up.example:8443"},
        ).json()
        nowhere = client.get("/probe")
        odd = client.get("/queue/probe", headers={"host": "a/b"})

    assert by_path["queue"] == f"http://{own}/queue"
    assert (by_host["queue"], by_host["cdn"]) == ("http://queue.fal.run", "http://v3.fal.media")
    assert forwarded["queue"] == "https://up.example:8443/queue"
    assert (nowhere.status_code, odd.status_code) == (404, 400)


def test_forwarded_headers_of_strangers_are_not_believed(settings: Settings) -> None:
    with live(settings, probes) as api, api.client() as client:
        told = client.get("/queue/probe", headers={"x-forwarded-host": "evil.example"}).json()

        assert told["queue"] == f"{api.url}/queue"


def test_the_public_url_goes_before_what_a_request_says(settings: Settings) -> None:
    fixed = settings.model_copy(update={"public_url": "https://up.example/api/"})
    with live(fixed, probes) as api, api.client() as client:
        told = client.get("/probe", headers={"host": "queue.fal.run"}).json()

    assert told["cdn"] == "https://up.example/api/cdn"


def test_the_proxy_reaches_our_own_areas_and_nothing_else(api: Live) -> None:
    def through(client: httpx.Client, target: str) -> httpx.Response:
        return client.get("/api/fal/proxy?q=outer", headers={"x-fal-target-url": target})

    foreign = (
        "https://example.com/queue/probe",
        "http://169.254.169.254/queue/latest",
        "https://queue.fal.run.example.com/probe",
        "https://user@queue.fal.run/probe",
        "file:///etc/passwd",
        f"{api.url}/api/fal/proxy",
        f"{api.url}/v1/batches",
        "https://v3.fal.media/files/x",
        "https://[broken/",
        "",
    )
    with api.client() as client:
        fal = through(client, "https://queue.fal.run/probe?x=1")
        own = through(client, f"{api.url}/queue/probe?x=2")
        refused = {through(client, target).status_code for target in foreign}

    assert (fal.json()["query"], own.json()["query"]) == ("x=1", "x=2")
    assert refused == {400}


@pytest.mark.parametrize("scheme", ["Key", "key", "Bearer", "BEARER"])
def test_a_key_is_taken_in_every_form(api: Live, scheme: str) -> None:
    with api.client(headers={"authorization": f"{scheme} {api.key}"}) as client:
        assert client.get("/run/probe").json() == {"owner": "alice"}


def test_a_key_that_is_missing_wrong_narrow_or_revoked_opens_nothing(api: Live) -> None:
    key_id, _, secret = api.key.partition(":")
    bad = ("", "Key", f"Basic {api.key}", f"Key {key_id}:{secret[::-1]}", f"Key {key_id}:",
           f"Key 00000000-0000-0000-0000-000000000000:{secret}", "Key " + "x" * 9000)  # fmt: skip
    narrow = api.make_key("alice", scopes=("files",))
    with httpx.Client(base_url=api.url) as client:
        answers = [client.get("/run/probe", headers={"authorization": each}) for each in bad]
        barred = client.get("/run/probe", headers={"authorization": f"Key {narrow}"})

    assert {answer.status_code for answer in answers} == {401}
    assert all(isinstance(answer.json()["detail"], str) for answer in answers)
    assert barred.status_code == 403


def test_errors_have_an_id_and_go_to_pages_of_other_origins_too(api: Live) -> None:
    with api.client(headers={"origin": "https://page.example"}) as client:
        broken = client.get("/rest/broken")
        preflight = client.options(
            "/queue/probe",
            headers={
                "access-control-request-method": "PUT",
                "access-control-request-headers": "authorization,x-fal-queue-priority",
            },
        )

    assert (broken.status_code, broken.json()["error_type"]) == (500, "internal_error")
    assert broken.headers["x-fal-request-id"]
    assert broken.headers["access-control-allow-origin"] == "*"
    assert "x-fal-request-id" in broken.headers["access-control-expose-headers"]
    assert preflight.status_code == 200
    assert "x-fal-queue-priority" in preflight.headers["access-control-allow-headers"]


def test_a_body_is_bounded_in_size_depth_and_meaning(api: Live) -> None:
    def chunks() -> Iterator[bytes]:
        yield from [b" " * 400] * 3

    bad = (b"[1]", b"{", b'{"a": NaN}', b"\xff", b'{"a":' + b"[" * 100 + b"]" * 100 + b"}",
           b'{"a": "\\u0000"}', b'{"a": 1, "a": 2}', b'{"a": 1e999}')  # fmt: skip
    with api.client() as client:
        as_form = {"content-type": "application/x-www-form-urlencoded"}
        good = client.post("/rest/probe", content=b'{"a": 1}', headers=as_form)
        long = [client.post("/rest/probe", content=each) for each in (b" " * 1001, chunks())]
        answers = [client.post("/rest/probe", content=each) for each in bad]

    assert good.json() == {"a": 1}
    assert {answer.status_code for answer in long} == {413}
    assert {answer.status_code for answer in answers} == {422}
    assert {answer.json()["detail"][0]["type"] for answer in answers} == {"json_invalid"}


def test_a_million_brackets_are_refused_without_falling_over_them() -> None:
    with pytest.raises(BodyInvalid, match="deeper than 64"):
        bodies.parse(b'{"a":' + b"[" * 10**6)


def test_a_body_that_trickles_is_not_waited_for(api: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "PATIENCE_S", 0.2)
    host, _, port = api.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=10) as line:
        line.sendall(b"POST /rest/probe HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{")
        began = time.monotonic()
        answer = line.recv(65536)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert time.monotonic() - began < 5
