"""How soon the only job of an idle system is claimed, from the moment that it is submitted."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import psutil
from PIL import Image
from sqlalchemy import text

from scheduler import submission
from scheduler.ledger import fleet
from scheduler.ledger.session import Ledger
from scheduler.storage import Storage, open_storage
from scheduler.submission import Order
from tests.benchmarks.figures import Figure, Report, load, megabytes, percentile
from tests.benchmarks.servers import Servers, child_environment, peak_bytes, process
from tests.factories import ENDPOINT
from tests.processes import eventually

WARM_UP = 20
SAMPLES = 150
PAUSES_S = (0.1, 0.9)
"""Drawn anew for each sample, so that none keeps step with anything that polls."""
TARGETS_MS = {50: 50.0, 99: 200.0}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One job's wait, in milliseconds.

    Attributes:
        from_call: Since `submit` was called: its checks of source and destination are in it.
        from_insert: Since the transaction that inserted the batch began.
    """

    from_call: float
    from_insert: float


@dataclass(frozen=True, kw_only=True)
class Running:
    """A whole system at rest: the processes that production runs."""

    ledger: Ledger
    storage: Storage
    scheduler: psutil.Process
    worker: psutil.Process


def run(servers: Servers) -> Report:
    """Submit one small image after the other, each when everything has come to rest."""
    with running(servers) as system:
        picture = servers.folder / "one.png"
        Image.radial_gradient("L").resize((16, 16)).save(picture)
        samples = [_sample(system, picture, number) for number in range(WARM_UP + SAMPLES)]
        peaks = {
            "scheduler": peak_bytes(system.scheduler),
            "worker": peak_bytes(system.worker),
        }
    kept = samples[WARM_UP:]
    figures = [
        _figure("from the call of submit", kept, lambda sample: sample.from_call),
        _figure("from the insert", kept, lambda sample: sample.from_insert),
    ]
    memory = [
        Figure(name=f"{name}'s peak memory, one small image at a time", measured=megabytes(peak))
        for name, peak in peaks.items()
    ]
    return Report(
        figures=(*figures, *memory),
        notes=(
            f"submit to claim: {SAMPLES} samples after {WARM_UP} to warm up, `file://`, the system "
            f"at rest before each; the claim's own clock, its commit does not wait for the disk; "
            f"load {load()}",
        ),
    )


def _figure(name: str, samples: list[Sample], of: Callable[[Sample], float]) -> Figure:
    found = {percent: percentile(map(of, samples), percent) for percent in TARGETS_MS}
    return Figure(
        name=f"submit of one job to its claim, {name}, p50 / p99",
        measured=" / ".join(f"{value:.0f} ms" for value in found.values()),
        target=" / ".join(f"<= {value:.0f} ms" for value in TARGETS_MS.values()),
        met=all(found[percent] <= limit for percent, limit in TARGETS_MS.items()),
    )


@contextmanager
def running(servers: Servers) -> Iterator[Running]:
    """Run a scheduler and a worker as an operator would, and wait for the worker to be seen."""
    with servers.system() as settings:
        ledger = Ledger(settings)
        env = child_environment(settings)
        with (
            process("scheduler", *SCHEDULER, folder=servers.folder, env=env) as scheduler,
            process("worker", *WORKER, folder=servers.folder, env=env) as worker,
        ):
            eventually(lambda: _ready(ledger), within_s=60)
            yield Running(
                ledger=ledger, storage=open_storage(settings), scheduler=scheduler, worker=worker
            )
        ledger.close()


SCHEDULER = ("-m", "scheduler.cli", "scheduler")
WORKER = ("-m", "workers", "--device", "cpu")


def _ready(ledger: Ledger) -> bool:
    with ledger.begin() as session:
        return bool(fleet.alive(session))


def _sample(system: Running, picture: Path, number: int) -> Sample:
    order = Order(
        source=picture.as_uri(),
        destination=(picture.parent / "out" / str(number)).as_uri(),
        endpoint=ENDPOINT,
    )
    time.sleep(random.uniform(*PAUSES_S))
    called = datetime.now(UTC)
    batch_id = submission.submit(system.ledger, system.storage, order).id
    eventually(lambda: _at_rest(system.ledger, batch_id))
    with system.ledger.begin() as session:
        row = session.execute(
            text(
                "select jobs.state, jobs.error, jobs.started_at, batches.created_at from jobs"
                " join batches on batches.id = jobs.batch_id where batches.id = :id"
            ),
            {"id": batch_id},
        ).one()
    assert row.state == "succeeded", row.error
    return Sample(
        from_call=(row.started_at - called).total_seconds() * 1000,
        from_insert=(row.started_at - row.created_at).total_seconds() * 1000,
    )


def _at_rest(ledger: Ledger, batch_id: UUID) -> bool:
    """Tell whether the batch is done with, its report included."""
    with ledger.begin() as session:
        found = session.scalar(
            text("select reported_at is not null from batches where id = :id"), {"id": batch_id}
        )
    return bool(found)
