"""The unmodified fal-client against a whole system, synchronous and not, over http and https."""

import asyncio
import base64
import gc
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fal_client
import fal_client.client
import pytest

from tests.api.live import Live
from tests.clients.connect_proxy import connect_proxy
from tests.clients.endpoint import SLOW
from tests.clients.test_curl import LANCZOS, picture
from tests.processes import eventually

# The client never closes its connections.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"
)


@pytest.fixture(autouse=True)
def pointed(system: Live, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Point the client's constants at the system, which may be done over plain http."""
    for name, path in (
        ("QUEUE_URL_FORMAT", "/queue/"),
        ("RUN_URL_FORMAT", "/run/"),
        ("REST_URL", "/rest"),
        ("CDN_URL", "/cdn"),
    ):
        monkeypatch.setattr(fal_client.client, name, system.url + path)
    yield
    gc.collect()  # before the next test, which may be stricter about warnings


@pytest.fixture
def client(system: Live) -> fal_client.SyncClient:
    return fal_client.SyncClient(key=system.key)


def test_subscribing_tells_of_states_and_logs(client: fal_client.SyncClient) -> None:
    told: list[Any] = []

    result = client.subscribe(
        LANCZOS,
        {"image_url": picture(), "scale": SLOW},
        with_logs=True,
        on_queue_update=told.append,
    )

    kinds = [type(each) for each in told]
    assert result["image"]["width"] == 24
    assert kinds[-1] is fal_client.Completed
    assert fal_client.InProgress in kinds
    last = told[-1]
    assert [line["level"] for line in last.logs] == ["INFO"] * len(last.logs)
    assert "denoising: 50 %" in [line["message"] for line in last.logs]
    assert last.metrics["inference_time"] > 1


def test_a_handle_leads_to_status_result_and_cancellation(client: fal_client.SyncClient) -> None:
    handle = client.submit(
        LANCZOS,
        {"image_url": picture(), "scale": SLOW},
        priority="low",
        hint="here",
        start_timeout=60,
    )
    queued = handle.status()
    handle.cancel()
    eventually(lambda: isinstance(handle.status(), fal_client.Completed))

    assert isinstance(queued, fal_client.Queued | fal_client.InProgress)
    with pytest.raises(fal_client.client.FalClientHTTPError) as caught:
        handle.get()
    assert (caught.value.status_code, caught.value.error_type) == (499, "client_cancelled")


def test_errors_carry_type_and_detail(client: fal_client.SyncClient) -> None:
    with pytest.raises(fal_client.client.FalClientHTTPError) as wrong:
        client.subscribe(LANCZOS, {"image_url": picture(), "scale": 99})
    with pytest.raises(fal_client.client.FalClientHTTPError) as unread:
        client.run(LANCZOS, {"image_url": "data:image/png;base64,AAAA"})
    with pytest.raises(fal_client.client.FalClientHTTPError) as nowhere:
        client.run("enlarger/none", {})

    assert wrong.value.status_code == 422
    assert wrong.value.message[0]["loc"] == ["body", "scale"]
    assert unread.value.message[0]["type"] == "image_load_error"
    assert nowhere.value.status_code == 404


def test_an_upload_is_an_input(client: fal_client.SyncClient, tmp_path: Path) -> None:
    photo = tmp_path / "Straße.png"
    photo.write_bytes(base64.b64decode(picture().partition(",")[2]))

    url = client.upload_file(photo)
    result = client.run(LANCZOS, {"image_url": url, "scale": 2})

    assert result["image"]["width"] == 32


def test_two_hundred_subscribers_at_once_each_get_their_own_result(system: Live) -> None:
    async def subscribe(client: fal_client.AsyncClient, number: int) -> tuple[int, int]:
        scale = 1 + number / 100
        arguments = {"image_url": picture(), "scale": scale}
        result = await client.subscribe(LANCZOS, arguments)
        return result["image"]["width"], int(16 * scale + 0.5)

    async def everybody() -> list[tuple[int, int]]:
        client = fal_client.AsyncClient(key=system.key)
        return await asyncio.gather(*(subscribe(client, number) for number in range(200)))

    assert all(width == expected for width, expected in asyncio.run(everybody()))


def test_names_of_hosts_in_the_environment_lead_here(system: Live, authority: Path) -> None:
    host = f"localhost:{system.tls_port}"
    found = run_plain_user(
        system, authority, FAL_RUN_HOST=f"{host}/run", FAL_QUEUE_RUN_HOST=f"{host}/queue"
    )

    assert found["told"][-1] == "Completed"
    assert (found["subscribed"]["width"], found["ran"]["width"]) == (32, 48)
    assert found["ran"]["url"].startswith(f"https://{host}/cdn/results/")


def test_who_takes_fals_names_over_serves_unchanged_programs(system: Live, authority: Path) -> None:
    with connect_proxy(system.tls_port) as proxy:
        found = run_plain_user(system, authority, "--upload", HTTPS_PROXY=proxy)

    assert (found["subscribed"]["width"], found["ran"]["width"]) == (32, 48)
    assert found["ran"]["url"].startswith("https://v3.fal.media/results/")
    assert found["uploaded"].startswith("https://v3.fal.media/files/")


def run_plain_user(
    system: Live, authority: Path, *options: str, **environment: str
) -> dict[str, Any]:
    """Run the program in an environment that leads it here; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.clients.plain_user", *options],
        env={
            "PATH": os.environ["PATH"],
            "FAL_KEY": system.key,
            "SSL_CERT_FILE": str(authority),
            "PICTURE": picture(),
            **environment,
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found
