"""A whole system of real processes, and the means to hurt it."""

import random
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import boto3
from sqlalchemy import text

from models.errors import WorldError
from scheduler import broker
from scheduler.children import Child, Restarts, Supervisor
from scheduler.embedded.system import environment
from scheduler.ledger import batches
from scheduler.ledger.batches import Progress
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from scheduler.storage import open_storage, parse_address
from scheduler.submission import Order, submit
from tests.pictures import make_pixels, save
from tests.system.gateway import Gateway
from tests.system.paced import ENDPOINT, PACE_VARIABLE
from tests.system.process import Process
from tests.system.servers import Servers
from tests.system.waiting import wait_for

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

QUEUE = broker.queue_name(ENDPOINT)
PHOTO = (20, 14)
"""Width and height of the pictures: small, so that the tests measure patience and not pixels."""
PACE_S = 0.03
SCHEDULER = (sys.executable, "-P", "-m", "scheduler.cli", "scheduler")
WORKER = (sys.executable, "-P", "-m", "tests.system.paced_worker")
IDLE_WORKER = (sys.executable, "-P", "-m", "tests.system.idle_worker")
REAL_WORKER = (sys.executable, "-P", "-m", "workers")
AT_ONCE = Restarts(first_s=0.05, longest_s=0.05, quick_deaths=10**6)


@dataclass
class System:
    """Processes around one database; a context manager that leaves none behind."""

    settings: Settings
    servers: Servers
    folder: Path
    processes: list[Process] = field(default_factory=list)
    client: "S3Client | None" = None

    def __post_init__(self) -> None:
        self.ledger = Ledger(self.settings, connections=2)
        self.storage = open_storage(self.settings)

    def adjust(self, **values: Any) -> None:
        """Change settings, before anything is started."""
        assert not self.processes
        self.settings = Settings.model_validate(self.settings.model_dump() | values)
        self.storage = open_storage(self.settings)

    def __enter__(self) -> "System":
        return self

    def __exit__(self, *_exc: object) -> None:
        for process in self.processes:
            process.close()
        self.ledger.close()
        if self.client is not None:
            self.client.close()

    # Processes.

    def start_scheduler(self) -> Process:
        """Start a scheduler, not waiting for it."""
        return self._start("scheduler", SCHEDULER, self._environment())

    def start_worker(self, *, pace_s: float = PACE_S) -> Process:
        """Start a worker whose upscaler takes `pace_s`, not waiting for it."""
        return self._start("worker", WORKER, self._environment(pace_s))

    def start_idle_worker(self, *, pace_s: float) -> Process:
        """Start a worker that enlarges nothing, for `pace_s` each, not waiting for it."""
        return self._start("worker", IDLE_WORKER, self._environment(pace_s))

    def start_real_worker(self, *, endpoints: str) -> Process:
        """Start a worker as it is delivered, not waiting for it."""
        command = (*REAL_WORKER, "--endpoints", endpoints)
        return self._start("worker", command, self._environment())

    @contextmanager
    def kept_worker(self) -> Iterator[Path]:
        """Keep a worker running as `enlarger worker` does, whatever it dies of; yield its log."""
        log = self.folder / "kept-worker.log"
        child = Child(name="worker", command=WORKER, env=self._environment(), log=log)
        with Supervisor(restarts=AT_ONCE) as supervisor:
            supervisor.start(child)
            yield log

    def leader(self) -> Process | None:
        """Return the scheduler that leads, as far as its log tells."""
        for process in self.processes:
            is_elected = process.said("leader.elected") > process.said("leader.resigned")
            if process.running and is_elected:
                return process
        return None

    def _environment(self, pace_s: float = PACE_S) -> Mapping[str, str]:
        return environment(self.settings) | {PACE_VARIABLE: str(pace_s)}

    def _start(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> Process:
        log = self.folder / f"{len(self.processes)}-{name}.log"
        process = Process(name, command, env=env, log=log)
        self.processes.append(process)
        return process

    # Work.

    def photos(self, count: int, *, name: str = "photos") -> Path:
        """Make a folder of different small pictures."""
        folder = self.folder / name
        folder.mkdir()
        for number in range(count):
            folder.joinpath(f"{number:04}.png").write_bytes(photo(number))
        return folder

    def submit(self, source: Path | str, **order: Any) -> UUID:
        """Submit a folder, manifest or address; the results go to `results` beside the sources."""
        given = {
            "source": _address(source),
            "destination": _address(self.results),
            "endpoint": ENDPOINT,
        }
        return submit(self.ledger, self.storage, Order(**given | order)).id

    def submit_photos(self, count: int) -> UUID:
        """Submit a batch of so many good pictures."""
        return self.submit(self.photos(count))

    def restart_postgres(self, how: signal.Signals) -> None:
        """End the database server and wait until it is back."""
        self.servers.restart_postgres(how)
        self.ledger.close()  # our own connections to it are dead

    @property
    def results(self) -> Path:
        """Where results go, unless a test says otherwise."""
        return self.folder / "results"

    def use_store(self, store: Gateway) -> "S3Client":
        """Let the system keep its objects behind a gateway; return a client that goes around it."""
        self.adjust(s3_endpoint_url=store.url, s3_addressing_style="path")
        self.client = boto3.client("s3", endpoint_url=store.upstream, region_name="us-east-1")
        return self.client

    def read(self, address: str) -> bytes:
        """Return an object, past any gateway."""
        place = parse_address(address)
        if place.scheme == "file":
            return Path(place.key).read_bytes()
        assert self.client is not None
        return self.client.get_object(Bucket=place.bucket, Key=place.key)["Body"].read()

    def cancel(self, batch: UUID) -> None:
        """Cancel a batch."""
        with self.ledger.begin() as session:
            batches.cancel(session, batch)

    # Looking.

    def progress(self, batch: UUID) -> Progress:
        """Return a batch's counters."""
        with self.ledger.begin(durable=False) as session:
            return batches.progress(session, batch)

    def rows(self, batch: UUID, *, states: Iterable[JobState] = tuple(JobState)) -> list[Any]:
        """Return a batch's jobs in these states, by line."""
        with self.ledger.begin(durable=False) as session:
            found = session.execute(
                text(
                    "select * from jobs where batch_id = :id and state = any(:states) order by line"
                ),
                {"id": batch, "states": [str(state) for state in states]},
            )
            return list(found)

    def running(self, batch: UUID) -> int:
        """Count the jobs that are in workers' hands."""
        return len(self.rows(batch, states=[JobState.RUNNING]))

    # Waiting.

    def wait_for(self, what: str, fact: Callable[[], object], *, within_s: float = 60.0) -> None:
        """Wait for something; not longer than all processes run that nobody told to end."""

        def holds() -> bool:
            for process in self.processes:
                assert process.running or process.told, f"{process.log.name}: it ended by itself"
            return bool(fact())

        wait_for(what, holds, within_s=within_s)

    def wait_until_ended(self, batch: UUID, count: int, *, within_s: float = 60.0) -> None:
        """Wait until `count` of a batch's rows have their outcome."""
        what = f"{count} of the batch's rows to end"
        self.wait_for(what, lambda: self.progress(batch).ended >= count, within_s=within_s)

    def wait_until_running(self, batch: UUID, *, within_s: float = 60.0) -> None:
        """Wait until some job is in a worker's hands."""
        self.wait_for("a job to run", lambda: self.running(batch), within_s=within_s)

    def wait_finished(self, batch: UUID, *, within_s: float = 60.0) -> None:
        """Wait until a batch has ended and its report is written."""

        def is_reported() -> bool:
            return self.progress(batch).reported_at is not None

        try:
            self.wait_for("the batch's report", is_reported, within_s=within_s)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; the batch stands at\n{self.describe(batch)}") from None

    def describe(self, batch: UUID) -> str:
        """Say where a batch stands, for the message of a failure."""
        try:
            unended = [row for row in self.rows(batch) if row.ended_at is None]
            return "\n".join([str(self.progress(batch)), *map(str, unended[:10])])
        except WorldError as exc:
            return str(exc)

    def tails(self) -> list[tuple[str, str]]:
        """Return the end of every process's log."""
        return [(process.log.name, process.tail()) for process in self.processes]


def photo(number: int) -> bytes:
    """Return a picture that no other number has, as PNG."""
    return save(make_pixels(*PHOTO, seed=number), "PNG")


def moments(chance: random.Random, count: int, *, jobs: int) -> list[int]:
    """Draw when to strike: after how many of `jobs` rows have ended, in rising order."""
    return sorted(chance.sample(range(1, jobs * 3 // 4), count))


def terminate(process: Process) -> int:
    """Ask a process to stop, and return its exit status."""
    process.signal(signal.SIGTERM)
    status = process.wait()
    process.close()
    return status


def _address(place: Path | str) -> str:
    return place if isinstance(place, str) else place.as_uri()
