"""How many rows a second become waiting jobs, beside a plain COPY of the same rows.

From the manifest's bytes to rows that a dispatcher may take: read, parsed, checked, named, and
committed with their counters and the reader's cursor, a chunk at a time.
"""

import gzip
import hashlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import boto3
import psutil
import psycopg
import pyarrow
from pyarrow import parquet

from scheduler.ledger.intake import COLUMNS
from scheduler.settings import Settings
from tests.benchmarks.figures import Figure, Report, load, megabytes
from tests.benchmarks.reading import drain, submitted
from tests.benchmarks.servers import Servers, child_environment
from tests.s3server import s3_server

ROWS = 50_000
ROUNDS = 3
FEW, MANY = 100_000, 1_000_000
"""Rows that the memory is measured with."""
GROWTH_BYTES = 50_000_000
KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench"}
CREDENTIALS = {
    "region_name": "us-east-1",
    "aws_access_key_id": "bench",
    "aws_secret_access_key": "bench",
}
KINDS = (
    "JSON lines with arguments",
    "half of them doubles",
    "Inventory, CSV.gz",
    "Inventory, Parquet",
)


class Cost(NamedTuple):
    """What all rows took: time, and processor time of this process and PostgreSQL together.

    On a busy machine the second says more.
    """

    wall_s: float
    cpu_s: float


def cost(work: Callable[[], object]) -> Cost:
    """Do something and return what it cost."""
    wall_s, cpu_s = time.perf_counter(), _cpu_s()
    work()
    return Cost(time.perf_counter() - wall_s, _cpu_s() - cpu_s)


def _cpu_s() -> float:
    found = [time.process_time()]
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if process.name() == "postgres":  # a backend that ended counts with its parent
                found.append(sum(process.cpu_times()[:4]))
    return sum(found)


def run(servers: Servers) -> Report:
    """Measure each kind of manifest in rounds, and take the medians."""
    with s3_server() as url:
        plain, doubles = write_jsonl(servers.folder), write_doubles(servers.folder)
        stored = [write_inventory(url, kind) for kind in ("CSV", "Parquet")]
        sources = (plain.as_uri(), doubles.as_uri(), *stored)
        figures = tuple(
            measured(servers, url, source, f"rows into the ledger: {name}", target)
            for source, name, target in zip(sources, KINDS, (0.4, 0.2, 0.4, 0.4), strict=True)
        )
    notes = (f"rows: {ROUNDS} rounds of {ROWS:,}; load {load()}",)
    return Report(figures=figures, notes=notes)


def measured(servers: Servers, s3_url: str, source: str, name: str, target: float) -> Figure:
    """Read one manifest in rounds, each beside the COPY of what it became."""
    ours: list[Cost] = []
    plain: list[Cost] = []
    for _ in range(ROUNDS):
        with servers.system() as settings:
            ours.append(reading(settings, s3_url, source))
            plain.append(copying(settings))
    ratio, cpu_ratio = (
        statistics.median(each(base) / each(one) for one, base in zip(ours, plain, strict=True))
        for each in (attrgetter("wall_s"), attrgetter("cpu_s"))
    )
    return Figure(
        name=name,
        measured=_spelt(ours),
        baseline=f"plain COPY of the same rows: {_spelt(plain)}",
        ratio=f"{ratio:.2f} x; CPU {cpu_ratio:.2f} x",
        target=f"{target} x",
        met=ratio >= target,
    )


def _spelt(costs: Sequence[Cost]) -> str:
    rate = statistics.median(ROWS / each.wall_s for each in costs)
    cpu_us = statistics.median(each.cpu_s for each in costs) / ROWS * 1e6
    return f"{rate:,.0f} rows/s, {cpu_us:.0f} µs of CPU a row"


def memory(servers: Servers) -> Report:
    """Compare what a process of its own has at most for few rows and for many."""
    few, many = (peak_of(servers, write_jsonl(servers.folder, rows)) for rows in (FEW, MANY))
    figure = Figure(
        name=f"memory to read {MANY:,} rows",
        measured=megabytes(many),
        baseline=f"{FEW:,} rows: {megabytes(few)}",
        ratio=f"+ {megabytes(many - few)}",
        target=f"+ {megabytes(GROWTH_BYTES)}",
        met=many - few < GROWTH_BYTES,
    )
    return Report(figures=(figure,))


def peak_of(servers: Servers, manifest: Path) -> int:
    """Read a manifest in a process of its own and return the most memory that it had, in bytes."""
    with servers.system() as settings:
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.reading", manifest.as_uri()],
            env=child_environment(settings),
            stdout=subprocess.PIPE,
            check=True,
        )
    return int(done.stdout)


def write_jsonl(folder: Path, rows: int = ROWS) -> Path:
    """Write rows with arguments, of which some are the same, and a column that passes through."""
    return _write(folder / f"{rows}.jsonl", (_row(number) for number in range(rows)))


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
    with path.open("w") as file:
        file.writelines(row + "\n" for row in rows)
    return path


def write_inventory(s3_url: str, kind: str) -> str:
    """Store an inventory with one data file; return the address of its manifest."""
    client = boto3.client("s3", endpoint_url=s3_url, **CREDENTIALS)
    bucket = f"inventory-{kind.lower()}"
    client.create_bucket(Bucket=bucket)
    keys = [f"2024/{number % 1000:03}/IMG_{number:07}.jpg" for number in range(ROWS)]
    data = _parquet(keys) if kind == "Parquet" else _csv(keys)
    md5 = hashlib.md5(data).hexdigest()
    manifest = {
        "sourceBucket": "photos",
        "destinationBucket": f"arn:aws:s3:::{bucket}",
        "fileFormat": kind,
        "fileSchema": "Bucket, Key, Size",
        "files": [{"key": "data/0", "size": len(data), "MD5checksum": md5}],
    }
    client.put_object(Bucket=bucket, Key="data/0", Body=data)
    client.put_object(Bucket=bucket, Key="manifest.json", Body=json.dumps(manifest).encode())
    client.close()
    return f"s3://{bucket}/manifest.json"


def _csv(keys: Iterable[str]) -> bytes:
    return gzip.compress("".join(f'"photos","{key}","1000"\n' for key in keys).encode())


def _parquet(keys: list[str]) -> bytes:
    columns = {"bucket": ["photos"] * len(keys), "key": keys, "size": [1000] * len(keys)}
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table(columns), sink)
    return bytes(sink.getvalue())


def reading(settings: Settings, s3_url: str, source: str) -> Cost:
    """Return what it costs to get from a manifest's first byte to its last waiting job.

    The results go to S3, as those of millions of rows do; nothing of it is reached for.
    """
    os.environ.update(KEYS)
    changes = {"s3_endpoint_url": s3_url, "s3_addressing_style": "path"}
    reader = submitted(settings.model_copy(update=changes), source)
    return cost(lambda: drain(reader))


def copying(settings: Settings) -> Cost:
    """Return what psycopg's COPY of the very same rows costs, in as many chunks."""
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
        assert len(rows) == ROWS
        return cost(lambda: _copy(connection, names, rows, settings.ingest_rows))


def _copy(
    connection: psycopg.Connection, names: str, rows: Sequence[tuple[object, ...]], size: int
) -> None:
    for at in range(0, len(rows), size):
        with (
            connection.cursor() as cursor,
            cursor.copy(f"copy plain ({names}) from stdin") as copy,
        ):
            for row in rows[at : at + size]:
                copy.write_row(row)
        connection.commit()
