"""How long a small batch takes behind a huge one, beside the same batch on an idle system."""

import os
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from scheduler import broker
from scheduler.dispatch import Dispatcher, bundle_size
from scheduler.ledger import batches, fleet, intake
from scheduler.ledger.session import Ledger, database_time
from scheduler.loop import settle
from scheduler.settings import Settings
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.filling import succeeded
from tests.benchmarks.fleet_worker import JOB_S, PIPELINES
from tests.benchmarks.servers import Servers, child_environment, process
from tests.factories import make_batch, make_chunk, make_row, make_submission
from tests.processes import eventually

ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))
"""Of the huge batch; fill less where the machine is small."""
SMALL = 10
ROUNDS = 5
STEP_S = 0.05
PATIENCE_S = 240.0
PIPELINE = PIPELINES[0]


def run(servers: Servers) -> Report:
    """Measure small batches on the idle system, and then behind the huge one."""
    with servers.system() as settings:
        ledger = Ledger(settings)
        arguments = ("-m", "tests.benchmarks.fleet_worker", "own", str(servers.folder / "loads"))
        env = child_environment(settings)
        with (
            process("fair-worker", *arguments, folder=servers.folder, env=env),
            _scheduling(ledger, settings),
        ):
            eventually(lambda: _is_there(ledger), within_s=PATIENCE_S)
            _small_batch_s(ledger)  # loads the pipeline
            idle = statistics.median(_small_batch_s(ledger) for _ in range(ROUNDS))
            _fill(ledger, settings)
            time.sleep(1)
            behind = statistics.median(_small_batch_s(ledger) for _ in range(ROUNDS))
        ledger.close()
    bundle = JOB_S * bundle_size(JOB_S, settings)
    limit = 2 * idle + bundle
    figure = Figure(
        name=f"a batch of {SMALL} jobs behind one of {ROWS:,} rows",
        measured=f"{behind:.2f} s",
        baseline=f"on the idle system: {idle:.2f} s",
        ratio=f"{behind / idle:.1f} x",
        target=f"<= 2 x and one bundle: {limit:.2f} s",
        met=behind <= limit,
    )
    note = (
        f"fairness: one worker, {JOB_S:g} s a job, a bundle of {bundle:.2f} s; medians of {ROUNDS};"
        f" load {load()}"
    )
    return Report(figures=(figure,), notes=(note,))


@contextmanager
def _scheduling(ledger: Ledger, settings: Settings) -> Iterator[None]:
    """Dispatch and count on a thread of its own, as the scheduler does."""
    stop = threading.Event()
    dispatcher = Dispatcher(ledger, broker.make_app(settings), settings)

    def schedule() -> None:
        while not stop.wait(STEP_S):
            settle(ledger)
            with ledger.begin(durable=False) as session:
                now = database_time(session)
            dispatcher.step(now)

    thread = threading.Thread(target=schedule, name="schedule")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _is_there(ledger: Ledger) -> bool:
    with ledger.begin() as session:
        return bool(fleet.alive(session))


def _small_batch_s(ledger: Ledger) -> float:
    """Return how long a small batch takes, from its rows' commit on."""
    rows = [make_row(line, pipeline=PIPELINE, endpoint=PIPELINE) for line in range(1, SMALL + 1)]
    batch_id = make_batch(ledger, rows, endpoint=PIPELINE)
    began = time.perf_counter()
    eventually(lambda: succeeded(ledger, batch_id) == SMALL, within_s=PATIENCE_S)
    return time.perf_counter() - began


def _fill(ledger: Ledger, settings: Settings) -> None:
    """Read a huge batch's rows into the ledger, in chunks, as ingestion does."""
    made = make_submission(endpoint=PIPELINE)
    with ledger.begin() as session:
        batches.submit(session, made, again=False)
    cursor = None
    for first in range(1, ROWS + 1, settings.ingest_rows):
        lines = range(first, min(first + settings.ingest_rows, ROWS + 1))
        rows = [make_row(line, pipeline=PIPELINE, endpoint=PIPELINE) for line in lines]
        chunk = make_chunk(rows, before=cursor, last=lines[-1] == ROWS)
        with ledger.begin() as session:
            assert intake.append(session, made.id, chunk)
        cursor = chunk.cursor
