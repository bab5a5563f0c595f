"""How often a fleet loads a pipeline, and how long it takes for jobs of two, mixed."""

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from sqlalchemy import text

from scheduler import broker
from scheduler.dispatch import Dispatcher
from scheduler.ledger import batches, fleet, queueing
from scheduler.ledger.queueing import Line
from scheduler.ledger.session import Ledger, database_time
from scheduler.loop import settle
from scheduler.settings import Settings
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.fleet_worker import JOB_S, LOAD_S, PIPELINES
from tests.benchmarks.servers import Servers, child_environment, process
from tests.factories import make_batch, make_row
from tests.processes import eventually

WORKERS = 2
JOBS = 1000
BUNDLE = 5
STEP_S = 0.02
PATIENCE_S = 240.0


@dataclass(frozen=True, kw_only=True)
class Run:
    """One way to do all jobs: how many loads that took, and how many seconds."""

    loads: int
    seconds: float


def run(servers: Servers) -> Report:
    """Measure the dispatcher's placement beside plain round-robin."""
    plain = _measure(servers, "shared", _publish_all)
    ours = _measure(servers, "own", _dispatch)
    least = JOBS * JOB_S / WORKERS
    return Report(
        figures=(
            Figure(
                name=f"loads of a pipeline per {JOBS:,} mixed jobs, {WORKERS} workers",
                measured=f"{ours.loads}",
                baseline=f"plain round-robin: {plain.loads}",
                ratio=f"{ours.loads / plain.loads:.2f} x",
            ),
            Figure(
                name="time for them",
                measured=f"{ours.seconds:.1f} s",
                baseline=f"plain round-robin: {plain.seconds:.1f} s",
                ratio=f"{ours.seconds / plain.seconds:.2f} x",
            ),
        ),
        notes=(
            f"switches: two pipelines, half of the jobs each, in two batches each; a job takes the "
            f"pretended device {JOB_S:g} s and a load {LOAD_S:g} s, a fiftieth of 1 s and 5 s; "
            f"without any load {least:.1f} s; bundles of {BUNDLE}, load {load()}",
        ),
    )


def _measure(servers: Servers, placement: str, work: Callable[[Ledger, Settings], None]) -> Run:
    """Have a fresh fleet do all jobs."""
    with servers.system() as base:
        settings = base.model_copy(update={"bundle_s": BUNDLE * JOB_S, "lease_s": 8.0})
        ledger = Ledger(settings)
        for number in range(2 * len(PIPELINES)):
            pipeline = PIPELINES[number % len(PIPELINES)]
            count = JOBS // (2 * len(PIPELINES))
            rows = [
                make_row(line, pipeline=pipeline, endpoint=pipeline) for line in range(1, count + 1)
            ]
            make_batch(ledger, rows, endpoint=pipeline)
        files = [servers.folder / f"loads-{placement}-{number}" for number in range(WORKERS)]
        with ExitStack() as stack:
            for file in files:
                arguments = ("-m", "tests.benchmarks.fleet_worker", placement, str(file))
                env = child_environment(settings)
                stack.enter_context(process(file.name, *arguments, folder=servers.folder, env=env))
            eventually(lambda: _fleet(ledger) == WORKERS, within_s=PATIENCE_S)
            began = time.perf_counter()
            work(ledger, settings)
            seconds = time.perf_counter() - began
        ledger.close()
    return Run(loads=sum(int(file.read_text()) for file in files), seconds=seconds)


def _fleet(ledger: Ledger) -> int:
    with ledger.begin() as session:
        return len(fleet.alive(session))


def _unfinished(ledger: Ledger) -> int:
    with ledger.begin() as session:
        found = session.scalar(text("select count(*) from jobs where state <> 'succeeded'"))
    return int(found or 0)


def _dispatch(ledger: Ledger, settings: Settings) -> None:
    """Be the scheduler until everything is done."""
    dispatcher = Dispatcher(ledger, broker.make_app(settings), settings)
    deadline = time.perf_counter() + PATIENCE_S
    while _unfinished(ledger):
        assert time.perf_counter() < deadline, "the jobs were not done in time"
        settle(ledger)
        with ledger.begin(durable=False) as session:
            now = database_time(session)
        dispatcher.step(now)
        time.sleep(STEP_S)


def _publish_all(ledger: Ledger, settings: Settings) -> None:
    """Put everything into the pipelines' queues, and wait until it is done."""
    app = broker.make_app(settings)
    with ledger.begin() as session:
        now = database_time(session)
        taken = {
            pipeline: [
                queued.ticket
                for batch in batches.active(session)
                for queued in queueing.take(session, Line(batch.id, pipeline), limit=JOBS, now=now)
            ]
            for pipeline in PIPELINES
        }
    for pipeline, tickets in taken.items():
        bundles = [tickets[at : at + BUNDLE] for at in range(0, len(tickets), BUNDLE)]
        broker.publish(app, pipeline, bundles)
    deadline = time.perf_counter() + PATIENCE_S
    while _unfinished(ledger):
        assert time.perf_counter() < deadline, "the jobs were not done in time"
        time.sleep(STEP_S)
