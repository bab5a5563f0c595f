"""What it is worth that small pictures of several jobs share a call: whole jobs, file to file.

The same jobs go through the same engine with and without the endpoint's batch form, in turn.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from models.catalog import Endpoint, find
from scheduler.ledger import queueing
from scheduler.ledger.queueing import Line
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from scheduler.storage import open_storage
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.servers import Servers
from tests.factories import make_batch, make_row
from tests.pictures import make_pixels, save
from tests.workers.rig import Rig, rig, states
from workers.chronicle import Chronicle
from workers.devices import cpu
from workers.heartbeat import Lease
from workers.residency import Residency
from workers.stock import Stock
from workers.storeroom import Storeroom
from workers.workshop import Workshop

SIDES = (16, 48)
JOBS = 256
ROUNDS = 4
COMPACT = find("enlarger/compact")


def run(servers: Servers) -> Report:
    """Measure jobs a second in company and one by one, for pictures of several sizes."""
    figures = tuple(_figure(servers, side) for side in SIDES)
    notes = (f"company: {JOBS} jobs, best of {ROUNDS} rounds, `file://`; load {load()}",)
    return Report(figures=figures, notes=notes)


def _figure(servers: Servers, side: int) -> Figure:
    forms = (COMPACT, replace(COMPACT, batch_pixels=0))
    rounds = [[_jobs_per_s(servers, form, side) for form in forms] for _ in range(ROUNDS)]
    together, one_by_one = (max(speeds) for speeds in zip(*rounds, strict=True))
    return Figure(
        name=f"compact x2, jobs of {side}x{side}",
        measured=f"{together:.0f} jobs/s",
        baseline=f"one by one: {one_by_one:.0f} jobs/s",
        ratio=f"{together / one_by_one:.2f} x",
    )


def _jobs_per_s(servers: Servers, endpoint: Endpoint, side: int) -> float:
    with servers.system() as settings:
        ledger = Ledger(settings)
        with _engine(ledger, settings, endpoint) as it:
            _work_off(it, ledger, settings.home, side, count=1)  # loads the pipeline
            seconds = _work_off(it, ledger, settings.home, side, count=JOBS)
        ledger.close()
    return JOBS / seconds


@contextmanager
def _engine(ledger: Ledger, settings: Settings, endpoint: Endpoint) -> Iterator[Rig]:
    lease = Lease(3600)
    lease.renewed(sent_at=time.monotonic())
    storage = open_storage(settings)
    stock = Stock(endpoints={endpoint.id: endpoint})
    workshop = Workshop(
        settings,
        worker="benchmark",
        stock=stock,
        ledger=ledger,
        storage=storage,
        storeroom=Storeroom(storage, lease, settings),
        residency=Residency(stock, cpu(), budget_bytes=2**30),
        chronicle=Chronicle(lambda _raw: None),
    )
    with rig(ledger, settings, workshop.stages()) as it:
        yield it


def _work_off(it: Rig, ledger: Ledger, home: Path, side: int, *, count: int) -> float:
    """Enlarge so many pictures and return the seconds from claim to completion of all."""
    folder = home / f"{count}-{side}"
    folder.mkdir(parents=True)
    picture = folder / "in.png"
    picture.write_bytes(save(make_pixels(side, side), "PNG"))
    rows = [
        make_row(
            line,
            endpoint=COMPACT.id,
            pipeline=COMPACT.id,
            source=picture.as_uri(),
            destination=(folder / "out" / f"{line}.png").as_uri(),
        )
        for line in range(1, count + 1)
    ]
    batch = make_batch(ledger, rows, destination=f"{folder.as_uri()}/")
    with ledger.begin() as session:
        now = database_time(session)
        taken = queueing.take(session, Line(batch, COMPACT.id), limit=count, now=now)
    began = time.perf_counter()
    it.run([each.ticket for each in taken])
    seconds = time.perf_counter() - began
    assert states(ledger, batch) == [JobState.SUCCEEDED] * count
    return seconds
