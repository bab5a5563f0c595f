"""How many no-op jobs a second one worker claims and completes, beside plain Celery's no-ops."""

import statistics
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import psycopg
import redis

from scheduler import broker
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from tests.benchmarks import plain_celery
from tests.benchmarks.figures import Figure, Report, load, megabytes
from tests.benchmarks.filling import fill, seconds_to_empty, succeeded
from tests.benchmarks.servers import Servers, child_environment, peak_bytes, process
from tests.factories import ENDPOINT, make_row
from tests.processes import eventually
from workers.consumer import BUNDLES_AT_ONCE

ROUNDS = 3
PLAIN_TASKS = 3000
JOBS = {1: 3000, 8: 9600, 32: 19200}
"""By size of bundle: enough for a few seconds."""
TARGETS = {1: 0.3, 8: 2.0, 32: 6.0}


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One measurement beside the baseline's of the same minute.

    Attributes:
        plain: Plain Celery's tasks a second.
        ours: Our jobs a second.
        commits: Of the database, a job.
        peak_bytes: The worker's most memory.
        load: The machine's load average afterwards.
    """

    plain: float
    ours: float
    commits: float
    peak_bytes: int
    load: str

    @property
    def ratio(self) -> float:
        """Ours over plain."""
        return self.ours / self.plain


def run(servers: Servers) -> Report:
    """Measure each size of bundle in rounds, always right after the baseline."""
    pairs = {
        size: [_pair(servers, count, bundle=size) for _ in range(ROUNDS)]
        for size, count in JOBS.items()
    }
    peak = max(pair.peak_bytes for found in pairs.values() for pair in found)
    memory = Figure(name="worker's peak memory, no-op jobs", measured=megabytes(peak))
    return Report(
        figures=(*(_figure(size, found) for size, found in pairs.items()), memory),
        notes=(
            f"turnover: medians of {ROUNDS} rounds, the baseline anew before each; both sides on "
            f"{BUNDLES_AT_ONCE} threads and the same Redis; an fsync costs {servers.fsync_ms:.2f} "
            "ms here",
            *(_rounds(size, found) for size, found in pairs.items()),
        ),
    )


def _pair(servers: Servers, count: int, *, bundle: int) -> Pair:
    plain = plain_rate(servers)
    ours, commits, peak = our_rate(servers, count, bundle=bundle)
    return Pair(plain=plain, ours=ours, commits=commits, peak_bytes=peak, load=load())


def _figure(size: int, found: list[Pair]) -> Figure:
    ratio = statistics.median(pair.ratio for pair in found)
    rate = statistics.median(pair.ours for pair in found)
    commits = statistics.median(pair.commits for pair in found)
    plain = statistics.median(pair.plain for pair in found)
    return Figure(
        name=f"turnover of no-op jobs, bundles of {size}",
        measured=f"{rate:,.0f} jobs/s, {commits:.2f} commits a job",
        baseline=f"plain Celery: {plain:,.0f} tasks/s",
        ratio=f"{ratio:.2f} x",
        target=f">= {TARGETS[size]:g} x",
        met=ratio >= TARGETS[size],
    )


def _rounds(size: int, found: list[Pair]) -> str:
    rounds = ", ".join(f"{pair.ratio:.2f} x (load {pair.load})" for pair in found)
    return f"turnover, bundles of {size}: rounds of {rounds}"


def plain_rate(servers: Servers) -> float:
    """Return plain Celery's no-op tasks a second."""
    app = plain_celery.make_app(servers.redis_url)
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(PLAIN_TASKS):
            app.tasks["noop"].apply_async((str(uuid.uuid4()),), producer=producer, retry=False)
    arguments = ("-m", plain_celery.__name__, servers.redis_url, str(BUNDLES_AT_ONCE))
    env = child_environment(Settings())
    with (
        redis.Redis.from_url(servers.redis_url) as client,
        process("plain-celery", *arguments, folder=servers.folder, env=env),
    ):
        return PLAIN_TASKS / seconds_to_empty(client, plain_celery.PREFIX, plain_celery.QUEUE)


def our_rate(servers: Servers, count: int, *, bundle: int) -> tuple[float, float, int]:
    """Return no-op jobs a second, commits a job, and the worker's peak memory."""
    with servers.system() as settings:
        ledger = Ledger(settings)
        rows = [make_row(line) for line in range(1, count + 1)]
        batch_id = fill(ledger, settings, rows, bundle=bundle)
        ledger.close()
        before = commits(settings)
        with (
            running_worker(servers, settings, "noop") as worker,
            broker.connect(settings) as client,
        ):
            queue = broker.queue_name(ENDPOINT)
            seconds = seconds_to_empty(client, settings.redis_prefix, queue)
            peak = peak_bytes(worker)
        committed = commits(settings) - before
        done = succeeded(ledger, batch_id)
        ledger.close()
        assert done == count, f"{count - done} of {count} no-op jobs did not succeed"
    return count / seconds, committed / count, peak


@contextmanager
def running_worker(servers: Servers, settings: Settings, kind: str) -> Iterator[psutil.Process]:
    """Run the worker under test; its device's busy times lie in `spans.json` afterwards."""
    arguments = ("-m", "tests.benchmarks.worker", kind, str(servers.folder / "spans.json"))
    env = child_environment(settings)
    with process("worker", *arguments, folder=servers.folder, env=env) as worker:
        yield worker


def commits(settings: Settings) -> int:
    """Count the database's commits; a server process tells of its own when it ends."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    with psycopg.connect(url, autocommit=True) as connection:

        def alone() -> bool:
            row = connection.execute(
                "select count(*) from pg_stat_activity where datname = current_database()"
                " and backend_type = 'client backend'"
            ).fetchone()
            return row == (1,)

        eventually(alone)
        row = connection.execute(
            "select xact_commit from pg_stat_database where datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(row[0])
