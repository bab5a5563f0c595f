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
from collections.abc import Iterable
from pathlib import Path

import boto3
import psycopg
import pyarrow
from pyarrow import parquet

from scheduler.ledger.intake import COLUMNS
from scheduler.settings import Settings
from tests.benchmarks.figures import Figure, Report, load, megabytes
from tests.benchmarks.reading import read
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
    ours: list[float] = []
    plain: list[float] = []
    for _ in range(ROUNDS):
        with servers.system() as settings:
            ours.append(ROWS / seconds_to_read(settings, s3_url, source))
            plain.append(plain_rate(settings))
    ratio = statistics.median(one / base for one, base in zip(ours, plain, strict=True))
    return Figure(
        name=name,
        measured=f"{statistics.median(ours):,.0f} rows/s",
        baseline=f"plain COPY of the same rows: {statistics.median(plain):,.0f} rows/s",
        ratio=f"{ratio:.2f} x",
        target=f"{target} x",
        met=ratio >= target,
    )


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


def seconds_to_read(settings: Settings, s3_url: str, source: str) -> float:
    """Return the seconds from the first byte of a manifest to the last waiting job.

    The results go to S3, as those of millions of rows do; nothing of it is reached for.
    """
    os.environ.update(KEYS)
    changes = {"s3_endpoint_url": s3_url, "s3_addressing_style": "path"}
    return read(settings.model_copy(update=changes), source)


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
