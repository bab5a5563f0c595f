"""The API against a bare FastAPI route, its way from submission to start, and many streams."""

import asyncio
import base64
import json
import random
import resource
import socket
import statistics
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import httpx
import psutil
from pydantic import SecretStr
from sqlalchemy import text

from scheduler.ledger import fleet, keys
from scheduler.ledger.keys import Grant
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from tests.benchmarks.bare_api import KNOWN
from tests.benchmarks.figures import Figure, Report, megabytes, percentile
from tests.benchmarks.figures import load as machine_load
from tests.benchmarks.http_load import Load, load, raw
from tests.benchmarks.latency import SCHEDULER, WORKER
from tests.benchmarks.servers import Servers, child_environment, peak_bytes, process
from tests.pictures import make_pixels, save
from tests.processes import eventually

ROUNDS = 5
ROUND_S = 2.0
CONNECTIONS = 8
SUBMISSIONS = 40
WARM_UP = 10
PATIENCE_S = 30.0
"""For one answer: a machine with other work is slow at times, and that is no failure."""
STREAMS = 2000
STREAMS_FOR_S = 10.0
BODY = json.dumps({"image_url": "https://pictures.example/a.png", "scale": 2}).encode()
SUBMIT = "/queue/enlarger/lanczos"


@dataclass(frozen=True, kw_only=True)
class Api:
    """A running API with nothing else."""

    settings: Settings
    ledger: Ledger
    process: psutil.Process
    port: int
    key: str

    def client(self) -> httpx.Client:
        """Return a client that sends the key."""
        headers = {"authorization": f"Key {self.key}"}
        base = f"http://127.0.0.1:{self.port}"
        return httpx.Client(base_url=base, headers=headers, timeout=PATIENCE_S)


def run(servers: Servers) -> Report:
    """Measure all of it, in some two minutes on a machine at rest."""
    start = _start(servers)
    with serving(servers) as api:
        figures = (*_rates(servers, api), start, _streams(api))
    return Report(
        figures=figures,
        notes=(
            f"api: {ROUNDS} rounds of {ROUND_S:g} s with each server in turn, {CONNECTIONS} kept-"
            "alive connections; the bare route has the same driver, pool and server, no key, and "
            f"one statement; load {machine_load()}",
        ),
    )


@contextmanager
def serving(servers: Servers) -> Iterator[Api]:
    """Run the API as an operator would."""
    with servers.system() as plain:
        settings = plain.model_copy(
            update={
                "files": (servers.folder / "files").as_uri(),
                "secret_key": SecretStr("k" * 32),
            }
        )
        settings = Settings(**settings.model_dump(exclude_unset=True))
        ledger = Ledger(settings, connections=2)
        with ledger.begin() as session:
            key = keys.create(session, Grant(owner="bench"))
        port = _free_port()
        arguments = ("-m", "scheduler.cli", "api", "--port", str(port))
        env = child_environment(settings)
        with process("api", *arguments, folder=servers.folder, env=env) as found:
            eventually(lambda: _listens(port))
            yield Api(settings=settings, ledger=ledger, process=found, port=port, key=key)
        ledger.close()


def _rates(servers: Servers, api: Api) -> list[Figure]:
    """Compare status and submission with the bare route, round by round."""
    bare_port = _free_port()
    env = child_environment(api.settings)
    arguments = ("-m", "tests.benchmarks.bare_api", str(bare_port))
    with process("bare", *arguments, folder=servers.folder, env=env) as bare:
        eventually(lambda: _listens(bare_port))
        with api.client() as client:
            path = _path(api, client.post(SUBMIT, content=BODY).json())
        note = json.dumps({"note": "x" * 100}).encode()
        status = _compare(
            (bare, bare_port, raw("GET", f"/{KNOWN}")),
            (api.process, api.port, raw("GET", path, key=api.key)),
        )
        submission = _compare(
            (bare, bare_port, raw("POST", "/", body=note)),
            (api.process, api.port, raw("POST", SUBMIT, key=api.key, body=BODY)),
        )
    return [
        *_figures("status reads", *status, least=0.8),
        *_figures("submissions", *submission, least=0.5),
    ]


def _path(api: Api, made: Mapping[str, str]) -> str:
    return made["status_url"].split(str(api.port), 1)[1]


Target = tuple[psutil.Process, int, bytes]


def _compare(bare: Target, ours: Target) -> tuple[list[Load], list[Load]]:
    measured: tuple[list[Load], list[Load]] = ([], [])
    for number in range(ROUNDS + 1):
        for target, found in zip((bare, ours), measured, strict=True):
            one = load(*target, connections=CONNECTIONS, seconds=ROUND_S if number else 1.0)
            if number:  # the first is to warm up
                found.append(one)
    return measured


def _figures(name: str, bare: list[Load], ours: list[Load], *, least: float) -> list[Figure]:
    rate = [statistics.median(each.per_s for each in loads) for loads in (ours, bare)]
    cpu = [statistics.median(each.cpu_ms for each in loads) for loads in (ours, bare)]
    return [
        Figure(
            name=f"{name} over HTTP, per second",
            measured=f"{rate[0]:.0f}/s",
            baseline=f"bare route: {rate[1]:.0f}/s",
            ratio=f"{rate[0] / rate[1]:.2f}",
            target=f">= {least}",
            met=rate[0] / rate[1] >= least,
        ),
        Figure(
            name=f"{name} over HTTP, the server's processor time for one",
            measured=f"{cpu[0]:.2f} ms",
            baseline=f"bare route: {cpu[1]:.2f} ms",
            ratio=f"{cpu[0] / cpu[1]:.2f}",
        ),
    ]


def _start(servers: Servers) -> Figure:
    """Measure the way from the call of submit to a worker's claim, in a system at rest."""
    with serving(servers) as api:
        env = child_environment(api.settings)
        with (
            process("scheduler", *SCHEDULER, folder=servers.folder, env=env),
            process("worker", *WORKER, folder=servers.folder, env=env),
            api.client() as client,
        ):
            eventually(lambda: _alive(api.ledger), within_s=60)
            waits = [_wait_ms(api, client, number) for number in range(WARM_UP + SUBMISSIONS)]
    kept = waits[WARM_UP:]
    found = {percent: percentile(kept, percent) for percent in (50, 99)}
    return Figure(
        name="POST of one request to its claim by a worker, idle, p50 / p99",
        measured=" / ".join(f"{value:.0f} ms" for value in found.values()),
        target="p50 <= 60 ms",
        met=found[50] <= 60,
    )


def _alive(ledger: Ledger) -> bool:
    with ledger.begin() as session:
        return bool(fleet.alive(session))


def _wait_ms(api: Api, client: httpx.Client, number: int) -> float:
    picture = _data_uri(number)
    time.sleep(random.uniform(0.05, 0.4))
    called = datetime.now(UTC)
    made = client.post(SUBMIT, json={"image_url": picture}).json()
    eventually(lambda: client.get(made["status_url"]).status_code == 200, within_s=PATIENCE_S)
    with api.ledger.begin() as session:
        statement = text("select started_at from jobs where id = :id")
        started = session.scalar(statement, {"id": made["request_id"]})
    return (started - called).total_seconds() * 1000


def _data_uri(seed: int) -> str:
    data = save(make_pixels(16, 12, seed=seed), "PNG")
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _streams(api: Api) -> Figure:
    """Open many status streams on one process, and look at the most memory that it ever had."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with api.client() as client, ThreadPoolExecutor(CONNECTIONS) as threads:
        made = list(threads.map(lambda _: client.post(SUBMIT, content=BODY), range(STREAMS)))
    paths = [f"{_path(api, each.json())}/stream?logs=1" for each in made]
    events = asyncio.run(_follow(api, paths))
    peak = peak_bytes(api.process)
    return Figure(
        name=f"memory of one process with {STREAMS} open status streams",
        measured=f"{megabytes(peak)}, {events / STREAMS:.1f} events each",
        target="<= 400 MB",
        met=peak <= 400e6,
    )


async def _follow(api: Api, paths: list[str]) -> int:
    """Hold all streams open for a while; return how many events came."""
    requests = [raw("GET", path, key=api.key) for path in paths]
    until = time.monotonic() + STREAMS_FOR_S + STREAMS / 200
    return sum(await asyncio.gather(*(_one(api.port, each, until) for each in requests)))


async def _one(port: int, request: bytes, until: float) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    events = 0
    while (left_s := until - time.monotonic()) > 0:
        try:
            async with asyncio.timeout(left_s):
                events += (await reader.readline()).startswith(b"data:")
        except TimeoutError:
            break
    writer.close()
    return events


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _listens(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0
