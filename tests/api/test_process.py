"""`enlarger api` as a process: how it ends, and what it writes down."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from scheduler.embedded.system import environment
from scheduler.ledger import keys, requests
from scheduler.ledger.keys import Grant
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from tests.api.test_queue import BODY, LANCZOS
from tests.processes import eventually

COMMAND = (sys.executable, "-P", "-m", "scheduler.cli", "api", "--port")


@pytest.fixture
def ledger(settings: Settings) -> Iterator[Ledger]:
    ledger = Ledger(settings, connections=1)
    yield ledger
    ledger.close()


def listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def test_a_stopping_api_finishes_its_streams_and_writes_no_key_down(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    with ledger.begin() as session:
        key = keys.create(session, Grant(owner="alice"))
    port, log = free_port(), tmp_path / "api.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*COMMAND, str(port)], env=environment(settings), stdout=file, stderr=file
        )
    try:
        eventually(lambda: listens(port), within_s=60)
        headers = {"authorization": f"Key {key}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as client:
            made = client.post(LANCZOS, json=BODY).json()
            with client.stream("GET", made["status_url"] + "/stream", timeout=30) as answer:
                lines = answer.iter_lines()
                first = json.loads(next(lines).removeprefix("data: "))
                process.send_signal(signal.SIGTERM)
                eventually(lambda: not listens(port))
                with ledger.begin() as session:
                    requests.cancel(session, UUID(made["request_id"]))
                rest = [json.loads(line[6:]) for line in lines if line.startswith("data: ")]
        process.wait(30)
    finally:
        process.kill()
        process.wait(30)

    assert first["status"] == "IN_QUEUE"
    assert rest[-1]["status"] == "COMPLETED"
    written = log.read_text()
    assert "http.served" in written
    assert key.partition(":")[2] not in written
