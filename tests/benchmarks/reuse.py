"""What a copy saves over a computation, and what it costs to look for one where there is none.

The same pictures go through the same engine, from file to file: with results of theirs known, with
none known, and without the question. Other owners' results are unknown, so each round asks anew.
CPU time of the worker's process is measured: that says more than the clock on a busy machine.
"""

import json
import time
from pathlib import Path
from typing import NamedTuple

from scheduler.ledger import batches, queueing
from scheduler.ledger.queueing import Line
from scheduler.ledger.session import Ledger, database_time
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.servers import Servers
from tests.factories import make_batch, make_row
from tests.pictures import make_pixels, save
from tests.workers.real import real_rig
from tests.workers.rig import Rig

ENDPOINTS = ("enlarger/lanczos", "enlarger/compact")
SIDE = 128
JOBS = 48
ROUNDS = 3


class Costs(NamedTuple):
    """CPU milliseconds a job."""

    unasked: float
    unknown: float
    known: float


def run(servers: Servers) -> Report:
    """Measure what a job costs with and without re-use, for a quick and a slower endpoint."""
    figures = tuple(figure for endpoint in ENDPOINTS for figure in _figures(servers, endpoint))
    notes = (
        f"reuse: {JOBS} pictures of {SIDE}x{SIDE}, best of {ROUNDS} rounds, `file://`; "
        f"load {load()}",
    )
    return Report(figures=figures, notes=notes)


def _figures(servers: Servers, endpoint: str) -> list[Figure]:
    with servers.system() as settings:
        ledger = Ledger(settings)
        photos = _photos(settings.home / "photos")
        with real_rig(ledger, settings) as it:
            _cpu_ms(it, endpoint, photos, owner="", reuse=False)  # loads the pipeline
            rounds = [_round(it, endpoint, photos, owner=str(n)) for n in range(ROUNDS)]
        ledger.close()
    unasked, unknown, known = (min(costs) for costs in zip(*rounds, strict=True))
    return [
        Figure(
            name=f"{endpoint}: results known",
            measured=f"{known:.1f} ms of CPU a job",
            baseline=f"computed: {unasked:.1f} ms",
            ratio=f"{known / unasked:.3f} x",
        ),
        Figure(
            name=f"{endpoint}: results asked for, and unknown",
            measured=f"{unknown:.1f} ms of CPU a job",
            baseline=f"not asked for: {unasked:.1f} ms",
            ratio=f"{unknown / unasked:.3f} x",
        ),
    ]


def _photos(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    found = [folder / f"{number}.png" for number in range(JOBS)]
    for number, path in enumerate(found):
        path.write_bytes(save(make_pixels(SIDE, SIDE, seed=number), "PNG"))
    return found


def _round(it: Rig, endpoint: str, photos: list[Path], *, owner: str) -> Costs:
    return Costs(
        unasked=_cpu_ms(it, endpoint, photos, owner=owner, reuse=False),
        unknown=_cpu_ms(it, endpoint, photos, owner=owner, reuse=True),
        known=_cpu_ms(it, endpoint, photos, owner=owner, reuse=True, known=True),
    )


def _cpu_ms(
    it: Rig, endpoint: str, photos: list[Path], *, owner: str, reuse: bool, known: bool = False
) -> float:
    """Enlarge all pictures into a new folder."""
    folder = photos[0].parent.parent / f"{endpoint}-{owner}-{reuse}-{known}"
    rows = [
        make_row(
            line,
            endpoint=endpoint,
            pipeline=endpoint,
            source=path.as_uri(),
            destination=(folder / path.name).as_uri(),
        )
        for line, path in enumerate(photos, start=1)
    ]
    options = json.dumps({"reuse": reuse})
    place = f"{folder.as_uri()}/"
    batch = make_batch(it.ledger, rows, options=options, destination=place, owner=owner)
    with it.ledger.begin() as session:
        now = database_time(session)
        taken = queueing.take(session, Line(batch, endpoint), limit=JOBS, now=now)
    began = time.process_time()
    it.engine.run([each.ticket for each in taken])
    seconds = time.process_time() - began
    with it.ledger.begin() as session:
        found = batches.progress(session, batch)
    assert (found.succeeded, found.reused) == (JOBS, JOBS if known else 0)
    return 1000 * seconds / JOBS
