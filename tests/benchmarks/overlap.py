"""How busy the device is kept while inputs come from, and results go to, a store far away."""

import json
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from scheduler import broker
from scheduler.embedded.redis import HOST, free_port
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from tests.benchmarks.figures import Figure, Report, load, megabytes
from tests.benchmarks.filling import fill, seconds_to_empty, succeeded
from tests.benchmarks.servers import Servers, peak_bytes, process
from tests.benchmarks.slow_s3 import DELAY_S
from tests.benchmarks.stages import DEVICE_S
from tests.benchmarks.turnover import running_worker
from tests.factories import ENDPOINT, make_row
from tests.processes import eventually

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

SIZE_BYTES = 1_500_000
JOBS = 352
BUNDLE = 32
DROPPED = 20
ROUNDS = 3
TARGET = 0.95


def run(servers: Servers) -> Report:
    """Measure in rounds, and take the median."""
    measured: list[float] = []
    strict: list[float] = []
    peaks: list[int] = []
    loads: list[str] = []
    with slow_s3(servers) as url:
        alone_s = one_transfer_s(url)
        for _ in range(ROUNDS):
            spans, peak = _spans(servers, url)
            measured.append(busy(spans))
            strict.append(DEVICE_S * len(spans) / (spans[-1][1] - spans[0][0]))
            peaks.append(peak)
            loads.append(load())
    share = statistics.median(measured)
    serial = DEVICE_S / (DEVICE_S + alone_s)
    figure = Figure(
        name="device-stage time / wall, S3 150 ms away, 1.5 MB objects, 50 ms device stage",
        measured=f"{share:.1%}",
        baseline=f"one job at a time with plain boto3: {serial:.1%}",
        ratio=f"{share / serial:.1f} x",
        target=f">= {TARGET:.0%}",
        met=share >= TARGET,
    )
    memory = Figure(
        name="worker's peak memory, transfers of 1.5 MB", measured=megabytes(max(peaks))
    )
    rounds = ", ".join(f"{share:.1%}" for share in measured)
    nominal = ", ".join(f"{share:.1%}" for share in strict)
    return Report(
        figures=(figure, memory),
        notes=(
            f"device: {JOBS} jobs in bundles of {BUNDLE}, {DROPPED} dropped at both ends; rounds of"
            f" {rounds}; counted as exactly 50 ms a job, that is without what a sleeping thread"
            f" waits to be woken: {nominal}; load {', '.join(loads)}",
            "device: the stage sleeps, as a thread does that waits for a GPU; objects are not "
            "decoded or encoded, which on two cores would measure Pillow",
        ),
    )


def busy(spans: list[tuple[float, float]]) -> float:
    """Return the share of the time from the first beginning to the last end that is in a span."""
    return sum(end - begin for begin, end in spans) / (spans[-1][1] - spans[0][0])


@contextmanager
def slow_s3(servers: Servers) -> Iterator[str]:
    """Run the delayed store in a process of its own and yield its URL."""
    port = free_port()
    arguments = ("-m", "tests.benchmarks.slow_s3", str(port), str(SIZE_BYTES))
    with process("slow-s3", *arguments, folder=servers.folder, env=os.environ):
        url = f"http://{HOST}:{port}"
        eventually(lambda: _answers(url))
        yield url


def _client(url: str) -> "S3Client":
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="bench",
        aws_secret_access_key="bench",
    )


def _answers(url: str) -> bool:
    try:
        _client(url).head_object(Bucket="photos", Key="1.png")
    except (BotoCoreError, ClientError):
        return False
    return True


def one_transfer_s(url: str) -> float:
    """Return the median time that plain boto3 needs to read an object and to write one."""
    client = _client(url)
    times = []
    for _ in range(7):
        began = time.perf_counter()
        content = client.get_object(Bucket="photos", Key="1.png")["Body"].read()
        client.put_object(Bucket="photos", Key="out/1.png", Body=content)
        times.append(time.perf_counter() - began)
    assert min(times) >= 2 * DELAY_S, "the store is not as slow as it should be"
    return statistics.median(times)


def _spans(servers: Servers, url: str) -> tuple[list[tuple[float, float]], int]:
    """Run all jobs once; return when the device was busy, without the ends, and peak memory."""
    with servers.system() as base:
        settings = base.model_copy(update={"s3_endpoint_url": url, "s3_addressing_style": "path"})
        done, peak = _run_jobs(servers, settings)
    assert done == JOBS, f"{JOBS - done} of {JOBS} jobs did not succeed"
    spans = sorted(json.loads((servers.folder / "spans.json").read_text()))
    return spans[DROPPED:-DROPPED], peak


def _run_jobs(servers: Servers, settings: Settings) -> tuple[int, int]:
    ledger = Ledger(settings)
    rows = [
        make_row(line, source=f"s3://photos/{line}.png", destination=f"s3://photos/out/{line}.png")
        for line in range(1, JOBS + 1)
    ]
    batch_id = fill(ledger, settings, rows, bundle=BUNDLE)
    with (
        running_worker(servers, settings, "transfers") as worker,
        broker.connect(settings) as client,
    ):
        seconds_to_empty(client, settings.redis_prefix, broker.queue_name(ENDPOINT))
        peak = peak_bytes(worker)
    done = succeeded(ledger, batch_id)
    ledger.close()
    return done, peak
