"""``enlarger up``: one command, and a request over HTTP comes back enlarged."""

import signal
import socket
import subprocess
from io import BytesIO
from pathlib import Path

import httpx
from PIL import Image

from scheduler.files.data_uri import spelt
from tests.pictures import make_pixels, save
from tests.processes import alive, eventually, family
from tests.scheduler.command import COMMAND, surroundings

PHOTO = save(make_pixels(12, 8), "PNG")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def test_everything_runs_at_one_command_and_stops_at_one_signal(tmp_path: Path) -> None:
    port = free_port()
    env = {**surroundings(None), "ENLARGER_HOME": str(tmp_path / "home")}
    with subprocess.Popen(
        [*COMMAND, "up", "--port", str(port)], env=env, stdout=subprocess.PIPE, text=True
    ) as up:
        assert up.stdout is not None
        key = up.stdout.readline().strip().removeprefix("FAL_KEY=")
        headers = {"authorization": f"Key {key}"}
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60
        ) as client:
            ready = client.get("/readyz")
            wanted = {"image_url": spelt(PHOTO, "image/png"), "scale": 3}
            answer = client.post("/run/enlarger/lanczos", json=wanted)
            picture = httpx.get(answer.json()["image"]["url"]) if answer.is_success else answer
        others = family(up.pid)
        up.send_signal(signal.SIGTERM)
        code = up.wait(60)

    assert ready.status_code == 200, ready.text
    assert answer.status_code == 200, answer.text
    assert Image.open(BytesIO(picture.content)).size == (36, 24)
    assert code == 130
    eventually(lambda: not any(alive(each) for each in others))
