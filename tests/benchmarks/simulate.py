"""A scheduler as an operator starts it, with 10,000 workers that have no devices, and 1 M rows.

The workers are threads of this process (`lane.py`), each of which does what hundreds of them would
ask of PostgreSQL and Redis. So the figures are of the scheduler and the two servers.
"""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
from sqlalchemy import text

from scheduler import broker
from scheduler.ledger.session import Ledger
from scheduler.loop import settle
from scheduler.settings import Settings
from tests.benchmarks.figures import Figure, Report, load, megabytes
from tests.benchmarks.lane import Lane
from tests.benchmarks.scale import BATCHES, COST_S, fill
from tests.benchmarks.servers import Servers, child_environment, peak_bytes, process

WORKERS = int(os.environ.get("BENCH_SIM_WORKERS", "10000"))
ROWS = int(os.environ.get("BENCH_SIM_ROWS", "1000000"))
LANES = 8
LEASE_S = 240.0
"""So that 10,000 workers make 167 heartbeats a second."""
MOST_CONNECTIONS = 50
LIMIT_S = 1200.0
GIVEN_UP_S = 2 * LIMIT_S
LOOKS_S = 1.0


@dataclass(kw_only=True)
class Watched:
    """What was seen from outside while it ran.

    Attributes:
        connections: Most connections to PostgreSQL at once, without the one that looked.
        waiting: Most jobs that were queued at once.
    """

    connections: int = 0
    waiting: int = 0


_LOOK = text("""
select (select count(*) from pg_stat_activity
        where backend_type = 'client backend' and pid <> pg_backend_pid()) as connections,
    (select count(*) from jobs where state = 'queued') as queued
""")
_DONE = text("""
select count(*) filter (where state = 'succeeded' and epoch = 1) as once, count(*) as jobs,
    (select sum(succeeded) from batches) - 100 * (select count(*) from batches) as counted,
    (select sum(pg_total_relation_size(inhrelid)) from pg_inherits
        where inhparent in ('jobs'::regclass, 'events'::regclass)) as bytes
from jobs
""")


def run(servers: Servers) -> Report:
    """Drain the rows, and say what each part of the system spent on it."""
    with servers.system() as found:
        settings = found.model_copy(update={"lease_s": LEASE_S})
        ledger = Ledger(settings, connections=LANES)
        for _ in range(BATCHES):
            fill(ledger, ROWS // BATCHES, 1)
        with ledger.autocommit() as connection:
            connection.execute(text("analyze jobs, batches"))
        lanes = list(_lanes(ledger, settings))
        report = _drain(servers, settings, ledger, lanes)
        ledger.close()
    return report


def _lanes(ledger: Ledger, settings: Settings) -> Iterator[Lane]:
    for lane in range(LANES):
        names = [f"host{number}:1" for number in range(lane, WORKERS, LANES)]
        yield Lane(ledger, settings, names=names, job_s=COST_S)


def _drain(servers: Servers, settings: Settings, ledger: Ledger, lanes: Sequence[Lane]) -> Report:
    command = ("-P", "-m", "scheduler.cli", "scheduler")
    env = child_environment(settings)
    with process("scheduler", *command, folder=servers.folder, env=env) as scheduler:
        began, spent = time.monotonic(), _cpu_s(servers, scheduler)
        with _working(lanes) as running, _watching(ledger) as watched:
            deadline = began + GIVEN_UP_S
            while sum(lane.counted.ended for lane in lanes) < ROWS:
                assert not any(each.done() for each in running), "a lane ended in an error"
                assert time.monotonic() < deadline, _told(lanes)
                time.sleep(LOOKS_S)
            seconds = time.monotonic() - began
        used = {name: at - spent[name] for name, at in _cpu_s(servers, scheduler).items()}
        memory = peak_bytes(scheduler)
    while settle(ledger):
        pass
    with ledger.begin() as session:
        done = session.execute(_DONE).one()
    assert (done.once, done.counted) == (ROWS, ROWS), f"{done}: not each job ended once"
    return _report(servers, seconds, used, watched, memory, done.bytes / ROWS, lanes, settings)


@contextmanager
def _working(lanes: Sequence[Lane]) -> Iterator[list[Future[None]]]:
    """Let all lanes work; what ended one of them with an error is raised at the end."""
    stop = threading.Event()
    with ThreadPoolExecutor(max_workers=len(lanes)) as pool:
        running = [pool.submit(lane.run, stop) for lane in lanes]
        try:
            yield running
        finally:
            stop.set()
            for each in running:
                each.result()


@contextmanager
def _watching(ledger: Ledger) -> Iterator[Watched]:
    stop = threading.Event()
    watched = Watched()

    def watch() -> None:
        while not stop.wait(LOOKS_S):
            with ledger.autocommit(durable=False) as connection:
                seen = connection.execute(_LOOK).one()
            watched.connections = max(watched.connections, seen.connections)
            watched.waiting = max(watched.waiting, seen.queued)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield watched
    finally:
        stop.set()
        thread.join()


def _cpu_s(servers: Servers, scheduler: psutil.Process) -> dict[str, float]:
    """Return the CPU time of each part so far; connections last, so their servers do, too."""
    own = psutil.Process()
    database = [each for each in own.children(recursive=True) if each.name() == "postgres"]
    client = broker.connect(Settings(redis_url=servers.redis_url))
    queue = client.info("cpu")
    return {
        "scheduler": _of(scheduler),
        "PostgreSQL": sum(map(_of, database)),
        "Redis": queue["used_cpu_user"] + queue["used_cpu_sys"],
        "simulated workers": _of(own),
    }


def _of(found: psutil.Process) -> float:
    times = found.cpu_times()
    return float(times.user + times.system)


def _told(lanes: Sequence[Lane]) -> str:
    return f"{sum(lane.counted.ended for lane in lanes):,} of {ROWS:,} ended in {GIVEN_UP_S:.0f} s"


def _report(
    servers: Servers,
    seconds: float,
    used: dict[str, float],
    watched: Watched,
    memory: int,
    row_bytes: float,
    lanes: Sequence[Lane],
    settings: Settings,
) -> Report:
    beats = sum(lane.counted.beats for lane in lanes)
    lost = sum(lane.counted.lost for lane in lanes)
    peak = broker.connect(settings).info("memory")["used_memory_peak"]
    figures = [
        Figure(
            name=f"{ROWS:,} rows by {WORKERS:,} workers, from the scheduler's start to the end",
            measured=f"{seconds:.0f} s, {ROWS / seconds:,.0f} jobs/s",
            target=f"<= {LIMIT_S:.0f} s for 1 M",
            met=seconds * 1e6 / ROWS <= LIMIT_S,
        ),
        Figure(
            name="connections to PostgreSQL, at most",
            measured=f"{watched.connections}",
            target=f"<= {MOST_CONNECTIONS}",
            met=watched.connections <= MOST_CONNECTIONS,
        ),
        *(
            Figure(name=f"CPU of a job: {name}", measured=f"{spent / ROWS * 1e6:.0f} µs")
            for name, spent in used.items()
        ),
        Figure(name="the scheduler's memory, at most", measured=megabytes(memory)),
        Figure(name="Redis' memory, at most", measured=megabytes(peak)),
        Figure(name="disk of a job that ended, with its event", measured=f"{row_bytes:.0f} bytes"),
    ]
    late_s = max(lane.counted.late_s for lane in lanes)
    note = (
        f"simulate: bundles of 16, {COST_S} s a job, completed by eights; {beats:,} heartbeats,"
        f" the latest {late_s:.1f} s late (a lease is {LEASE_S:.0f} s); {lost} jobs were lost;"
        f" at most {watched.waiting:,} jobs queued; load {load()}"
    )
    return Report(figures=tuple(figures), notes=(note,))
