"""What every client stands on, spelt out: the whole way of a request, over plain HTTP."""

import base64
import json
import socket
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import text

from tests.api.live import Live
from tests.clients.endpoint import SLOW
from tests.pictures import make_pixels, save
from tests.processes import eventually

LANCZOS = "enlarger/lanczos"


def picture(seed: int = 0) -> str:
    """Return a small picture as a data URI; another one for each seed."""
    data = save(make_pixels(16, 12, seed=seed), "PNG")
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the events of a stream, once it has ended."""
    lines = answer.iter_lines()
    return [json.loads(line[len("data: ") :]) for line in lines if line.startswith("data: ")]


def test_a_stream_tells_each_change_once_and_ends_with_the_request(system: Live) -> None:
    body = {"image_url": picture(1), "scale": SLOW}
    with system.client() as client:
        made = client.post(f"/queue/{LANCZOS}", json=body).json()
        with client.stream("GET", made["status_url"] + "/stream?logs=1") as answer:
            told = events(answer)
        status = client.get(made["status_url"] + "?logs=true").json()
        result = client.get(made["response_url"])
        image = httpx.get(result.json()["image"]["url"])

    states = [each["status"] for each in told]
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert states == sorted(states, key=("IN_QUEUE", "IN_PROGRESS", "COMPLETED").index)
    assert states[-1] == "COMPLETED"
    assert sum(state == "IN_PROGRESS" for state in states) > 2
    told_lines = [line for each in told for line in each.get("logs") or []]
    assert told_lines == status["logs"]
    messages = [line["message"] for line in told_lines]
    assert len(set(messages)) == len(messages)
    assert messages[0] == "Fetching the image"
    assert "denoising: 50 %" in messages
    assert status["metrics"]["inference_time"] >= 2.0
    assert (result.json()["image"]["width"], image.headers["content-type"]) == (24, "image/png")


def test_a_direct_call_answers_with_the_image_and_forgets_it_if_asked_to(system: Live) -> None:
    body = {"image_url": picture(2), "scale": 2}
    with system.client() as client:
        plain = client.post(f"/run/{LANCZOS}", json=body)
        bad = client.post(f"/run/{LANCZOS}", json={"image_url": "data:image/png;base64,AAAA"})
        forgotten = client.post(
            f"/run/{LANCZOS}", json={**body, "scale": 3}, headers={"x-fal-store-io": "0"}
        )

    assert plain.status_code == 200
    assert httpx.get(plain.json()["image"]["url"]).status_code == 200
    assert plain.headers["x-fal-request-id"]
    assert (bad.status_code, bad.json()["detail"][0]["type"]) == (422, "image_load_error")
    assert forgotten.status_code == 200


def test_sync_mode_answers_with_the_image_itself_and_keeps_none_of_it(system: Live) -> None:
    body = {"image_url": picture(3), "sync_mode": True}
    with system.client() as client:
        result = client.post(f"/run/{LANCZOS}", json=body)
    url = result.json()["image"]["url"]

    assert url.startswith("data:image/png;base64,")
    stored = [path for path in _files(system) if path.read_bytes()[:4] == b"\x89PNG"]
    data = base64.b64decode(url.partition(",")[2])
    assert data.startswith(b"\x89PNG")
    assert data not in [path.read_bytes() for path in stored]


def _files(system: Live) -> list[Path]:
    root = Path(urlsplit(system.settings.files or "").path)
    return [path for path in root.rglob("*") if path.is_file()]


def test_a_running_request_is_cancelled_between_its_steps(system: Live) -> None:
    body = {"image_url": picture(4), "scale": SLOW}
    with system.client() as client:
        made = client.post(f"/queue/{LANCZOS}", json=body).json()
        eventually(lambda: client.get(made["status_url"]).json()["status"] == "IN_PROGRESS")
        cancelled = client.put(made["cancel_url"])
        eventually(lambda: client.get(made["status_url"]).status_code == 200)
        result = client.get(made["response_url"])

    assert cancelled.status_code == 202
    assert (result.status_code, result.json()["error_type"]) == (499, "client_cancelled")


def test_a_caller_who_hangs_up_before_the_start_is_not_worked_for(system: Live) -> None:
    with system.client() as client:
        busy = _keep_busy(system, client)
        _hang_up(system, json.dumps({"image_url": picture(6), "scale": SLOW}).encode())
        eventually(lambda: _cancelled_before_the_start(system) == 1)
        for each in busy:
            client.put(each["cancel_url"])


def _keep_busy(system: Live, client: httpx.Client) -> list[dict[str, Any]]:
    """Give the worker more than the bundles that it begins at once, however large they become."""
    busy: list[dict[str, Any]] = []
    while _count(system, "state in ('waiting', 'queued')") < 2:
        bodies = [{"image_url": picture(10 + each), "scale": SLOW} for each in range(8)]
        busy += [client.post(f"/queue/{LANCZOS}", json=body).json() for body in bodies]
        time.sleep(0.5)
    return busy


def _cancelled_before_the_start(system: Live) -> int:
    return _count(system, "state = 'cancelled' and started_at is null")


def _count(system: Live, condition: str) -> int:
    statement = f"select count(*) from jobs where {condition}"
    with system.app.state.ledger.begin() as session:
        return int(session.scalar(text(statement)))


def _hang_up(system: Live, body: bytes) -> None:
    """Send a direct call, and close the connection before its answer."""
    host, _, port = system.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(
            b"POST /run/enlarger/lanczos HTTP/1.1\r\nHost: x\r\nAuthorization: Key "
            + system.key.encode()
            + b"\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )
        time.sleep(0.3)


def test_streams_hold_no_thread(system: Live) -> None:
    made = []
    with system.client() as client:
        for number in range(40):
            body = {"image_url": picture(7), "scale": SLOW if number == 0 else 2}
            made.append(client.post(f"/queue/{LANCZOS}", json=body).json())
        answers: list[list[dict[str, Any]]] = []

        def follow(url: str) -> None:
            with system.client() as own, own.stream("GET", url) as answer:
                answers.append(events(answer))

        threads = [
            threading.Thread(target=follow, args=(each["status_url"] + "/stream",)) for each in made
        ]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        status = client.get(made[0]["status_url"])
        waited_s = time.monotonic() - began
        for thread in threads:
            thread.join(60)

    assert status.status_code in (200, 202)
    assert waited_s < 2
    assert [told[-1]["status"] for told in answers] == ["COMPLETED"] * 40
