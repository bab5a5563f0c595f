"""How many rows a second become waiting jobs, beside a plain COPY of the same rows.

From the manifest's bytes to rows that a dispatcher may take: read, parsed, checked, named, and
committed with their counters and the reader's cursor, a chunk at a time.
"""

import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psycopg

from scheduler.ingest import Reader
from scheduler.ledger import batches
from scheduler.ledger.intake import COLUMNS
from scheduler.ledger.session import Ledger
from scheduler.manifests import open_source
from scheduler.settings import Settings
from scheduler.storage import open_storage
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.servers import Servers
from tests.factories import make_submission

ROWS = 100_000
ROUNDS = 3


def run(servers: Servers) -> Report:
    """Measure each kind of manifest in rounds, and take the medians."""
    figures = tuple(
        measured(servers, name, target, write)
        for name, target, write in (
            ("JSON lines with arguments", 0.4, write_jsonl),
            ("JSON lines, half of them doubles", 0.2, write_doubles),
        )
    )
    notes = (f"rows: {ROUNDS} rounds of {ROWS:,}; load {load()}",)
    return Report(figures=figures, notes=notes)


def measured(servers: Servers, name: str, target: float, write: Callable[[Path], Path]) -> Figure:
    """Read one kind of manifest in rounds, each beside the COPY of what it became."""
    manifest = write(servers.folder)
    ours: list[float] = []
    plain: list[float] = []
    for _ in range(ROUNDS):
        with servers.system() as settings:
            ours.append(our_rate(settings, manifest))
            plain.append(plain_rate(settings))
    ratio = statistics.median(one / base for one, base in zip(ours, plain, strict=True))
    return Figure(
        name=f"rows into the ledger: {name}",
        measured=f"{statistics.median(ours):,.0f} rows/s",
        baseline=f"plain COPY of the same rows: {statistics.median(plain):,.0f} rows/s",
        ratio=f"{ratio:.2f} x",
        target=f"{target} x",
        met=ratio >= target,
    )


def write_jsonl(folder: Path) -> Path:
    """Write rows with arguments, of which some are the same, and a column that passes through."""
    return _write(folder / "rows.jsonl", (_row(number) for number in range(ROWS)))


def write_doubles(folder: Path) -> Path:
    """Write the same, each row twice, far apart."""
    rows = (_row(number % (ROWS // 2)) for number in range(ROWS))
    return _write(folder / "doubles.jsonl", rows)


def _row(number: int) -> str:
    return json.dumps(
        {
            "source": f"s3://photos/2024/{number % 1000:03}/IMG_{number:07}.jpg",
            "id": f"photo-{number}",
            "arguments": {"scale": 2 + number % 3, "output_format": "webp"},
            "album": "summer",
        }
    )


def _write(path: Path, rows: Iterable[str]) -> Path:
    path.write_text("".join(row + "\n" for row in rows))
    return path


def our_rate(settings: Settings, manifest: Path) -> float:
    """Return rows a second from the first byte of a manifest to the last waiting job.

    The results go to S3, as those of millions of rows do; nothing of it is reached for.
    """
    ledger = Ledger(settings)
    storage = open_storage(settings)
    version = open_source(storage, manifest.as_uri()).version()
    made = make_submission(
        source=manifest.as_uri(),
        source_version=version,
        destination="s3://results/large/",
        arguments='{"scale": 2}',
        options='{"include": [], "exclude": [], "in_place": false}',
    )
    with ledger.begin() as session:
        batches.submit(session, made, again=False)
    reader = Reader(ledger, storage, settings, read=lambda: None)
    began = time.perf_counter()
    while reader.step():
        pass
    seconds = time.perf_counter() - began
    ledger.close()
    return ROWS / seconds


def plain_rate(settings: Settings) -> float:
    """Return rows a second through psycopg's COPY of the very same rows, in as many chunks."""
    assert settings.database_url is not None
    names = ", ".join(COLUMNS)
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute("create table plain (like jobs including all)")
        # The one index that is the partitions' own.
        connection.execute("create unique index on plain (batch_id, destination_key)")
        connection.commit()
        rows = [
            tuple(json.dumps(each) if isinstance(each, dict) else each for each in row)
            for row in connection.execute(f"select {names} from jobs order by id")
        ]
        began = time.perf_counter()
        for at in range(0, len(rows), settings.ingest_rows):
            with (
                connection.cursor() as cursor,
                cursor.copy(f"copy plain ({names}) from stdin") as copy,
            ):
                for row in rows[at : at + settings.ingest_rows]:
                    copy.write_row(row)
            connection.commit()
        seconds = time.perf_counter() - began
    assert len(rows) == ROWS
    return len(rows) / seconds
