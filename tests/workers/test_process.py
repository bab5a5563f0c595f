"""Real worker processes on real servers: consuming, stopping, and outliving a Redis restart."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from scheduler import broker
from scheduler.children import Supervisor
from scheduler.embedded.redis import fresh
from scheduler.embedded.system import environment
from scheduler.ledger import fleet
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState, Worker
from scheduler.settings import Settings
from tests.factories import ENDPOINT, make_batch, make_row
from tests.pictures import make_pixels, save
from tests.processes import alive, eventually, family
from tests.workers.rig import queue, states
from workers.process import fitted

SUCCEEDED = JobState.SUCCEEDED


@contextmanager
def process(module: str, settings: Settings, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run a module of ours for a block; what is left of it then is killed."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        env=environment(settings),
        stderr=subprocess.PIPE,
        text=True,
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def stop(started: subprocess.Popen[str], *, twice: bool = False) -> tuple[int, str]:
    """Ask a process to end; return its status and what it said."""
    started.send_signal(signal.SIGTERM)
    if twice:
        started.send_signal(signal.SIGTERM)
        started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=30)
    return started.returncode, said


def submit(ledger: Ledger, settings: Settings, folder: Path, count: int = 4):
    """Queue and publish a batch of small pictures, two a bundle."""
    (folder / "in.png").write_bytes(save(make_pixels(16, 12), "PNG"))
    given = [
        make_row(
            line,
            source=(folder / "in.png").as_uri(),
            destination=(folder / "out" / f"{line}.png").as_uri(),
        )
        for line in range(1, count + 1)
    ]
    batch = make_batch(ledger, given, destination=f"{folder.as_uri()}/")
    tickets = [each.ticket for each in queue(ledger, batch)]
    bundles = [tickets[at : at + 2] for at in range(0, count, 2)]
    broker.publish(broker.make_app(settings), ENDPOINT, bundles)
    return batch


def test_a_worker_takes_bundles_from_redis_and_stops_cleanly(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    batch = submit(ledger, settings, tmp_path)

    with process("workers", settings, "--device", "cpu") as worker:
        eventually(lambda: states(ledger, batch) == [SUCCEEDED] * 4)
        with ledger.begin() as session:
            (registered,) = fleet.alive(session)
        status, said = stop(worker, twice=True)

    assert status == 0, said
    assert ENDPOINT in registered.ready
    assert registered.device.startswith("cpu ")
    with ledger.begin() as session:
        assert fleet.alive(session) == [], "it signed off"
    with broker.connect(settings) as client:
        assert client.hlen(settings.redis_prefix + "unacked") == 0, "it acknowledged everything"


def test_a_message_that_is_no_bundle_is_told_of_and_does_no_harm(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    app = broker.make_app(settings)
    queue_name = broker.queue_name(ENDPOINT)
    app.send_task(broker.UPSCALE, args=([["no-id", 1]],), queue=queue_name)
    app.send_task(broker.UPSCALE, args=(None,), queue=queue_name)
    batch = submit(ledger, settings, tmp_path, count=2)

    with process("workers", settings) as worker:
        eventually(lambda: states(ledger, batch) == [SUCCEEDED] * 2)
        status, said = stop(worker)

    assert status == 0, said
    assert said.count("message.malformed") == 2


def test_a_worker_goes_on_after_redis_was_restarted_empty(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    server = fresh(tmp_path / "redis", tmp_path / "redis.log")
    server.prepare()
    settings = settings.model_copy(update={"redis_url": SecretStr(server.url)})
    with Supervisor() as first:
        first.start(server.child())
        before = submit(ledger, settings, tmp_path, count=2)
        with process("workers", settings) as worker:
            eventually(lambda: states(ledger, before) == [SUCCEEDED] * 2)
            first.stop()
            with Supervisor() as second:
                second.start(server.child())

                after = submit(ledger, settings, tmp_path, count=2)

                eventually(lambda: states(ledger, after) == [SUCCEEDED] * 2)
                status, said = stop(worker)

    assert status == 0, said


def test_a_worker_can_be_stopped_while_redis_is_away(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    server = fresh(tmp_path / "redis", tmp_path / "redis.log")
    server.prepare()
    settings = settings.model_copy(update={"redis_url": SecretStr(server.url)})
    with Supervisor() as supervisor:
        supervisor.start(server.child())
        batch = submit(ledger, settings, tmp_path, count=2)
        with process("workers", settings) as worker:
            eventually(lambda: states(ledger, batch) == [SUCCEEDED] * 2)
            supervisor.stop()

            status, said = stop(worker)

    assert status == 0, said
    assert "worker.stopped" in said


def test_a_worker_of_unknown_endpoints_says_so_and_does_not_start(settings: Settings) -> None:
    with process("workers", settings, "--endpoints", "no/such") as worker:
        _, said = worker.communicate(timeout=30)

    assert worker.returncode == 2
    assert "the catalogue has no such endpoint" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"redis_url": None}, "ENLARGER_REDIS_URL is not set"),
        (
            {"options": {"lanczos": {}}},
            "ENLARGER_OPTIONS: 'lanczos' is no endpoint",
        ),
        ({"options": {ENDPOINT: {"tiles": 3}}}, f"ENLARGER_OPTIONS: {ENDPOINT}: tiles"),
    ],
    ids=["no redis", "no endpoint", "no option"],
)
def test_a_host_that_is_set_up_wrongly_says_so_once_and_starts_no_worker(
    settings: Settings, wrong: dict[str, object], words: str
) -> None:
    changed = settings.model_copy(update=wrong)

    with process("workers.supervisor", changed, "--device", "cpu") as supervisor:
        _, said = supervisor.communicate(timeout=30)

    assert supervisor.returncode == 2
    assert said.count(words) == 1
    assert said.count("\n") == 1


def test_one_worker_is_kept_for_a_device_and_replaced_when_it_dies(
    ledger: Ledger, settings: Settings, tmp_path: Path
) -> None:
    def workers() -> list[Worker]:
        with ledger.begin() as session:
            return fleet.alive(session)

    with process("workers.supervisor", settings, "--device", "cpu") as supervisor:
        eventually(lambda: len(workers()) == 1)
        dead = int(workers()[0].name.rpartition(":")[2])
        below = family(supervisor.pid)
        assert dead in below
        subprocess.run(["kill", "-9", str(dead)], check=True)

        eventually(lambda: len(workers()) == 2)
        batch = submit(ledger, settings, tmp_path, count=2)
        eventually(lambda: states(ledger, batch) == [SUCCEEDED] * 2)
        left = family(supervisor.pid)
        status, said = stop(supervisor)

    assert status == 0, said
    assert "worker.started" in said, "what a worker says comes out of its supervisor"
    assert "worker.stopped" in said
    assert not [pid for pid in left if alive(pid)]


@pytest.mark.parametrize(("lease_s", "expected"), [(60.0, 30.0), (600.0, 30.0), (4.0, 2.0)])
def test_storage_gives_up_before_a_lease_can_lapse(
    settings: Settings, lease_s: float, expected: float
) -> None:
    given = settings.model_copy(update={"lease_s": lease_s})

    assert fitted(given).storage_timeout_s == expected


def test_the_threads_of_a_convolution_wait_without_spinning(settings: Settings) -> None:
    program = "import workers.__main__ as it; it.command = lambda **_: 0; it.main(); import torch"

    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        env=environment(settings) | {"OMP_DISPLAY_ENV": "true"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr
