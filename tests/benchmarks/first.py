"""How soon the first job of a huge manifest begins, from the moment that it is submitted."""

import json
import os
import statistics
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from PIL import Image
from sqlalchemy import text

from scheduler import submission
from scheduler.ledger import batches
from scheduler.submission import Order
from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.latency import Running, running
from tests.benchmarks.servers import Servers
from tests.factories import ENDPOINT
from tests.processes import eventually

ROWS = int(os.environ.get("BENCH_ROWS", "1000000"))
ROUNDS = 3
TARGET_S = 2.0
PATIENCE_S = 120.0


def run(servers: Servers) -> Report:
    """Submit the manifest, wait for the first claim, cancel; a few times."""
    manifest = _write(servers.folder)
    with running(servers) as system:
        seconds = [_first_s(system, manifest, number) for number in range(ROUNDS)]
    middle = statistics.median(seconds)
    figure = Figure(
        name=f"submit of a manifest of {ROWS:,} rows to its first job's claim",
        measured=f"{middle:.2f} s",
        target=f"<= {TARGET_S:g} s",
        met=middle <= TARGET_S,
    )
    size = manifest.stat().st_size / 1e6
    note = f"first: JSONL of {size:.0f} MB on the disk; median of {ROUNDS}; load {load()}"
    return Report(figures=(figure,), notes=(note,))


def _write(folder: Path) -> Path:
    picture = folder / "first.png"
    Image.radial_gradient("L").resize((16, 16)).save(picture)
    manifest = folder / "first.jsonl"
    with manifest.open("w") as file:
        for line in range(ROWS):
            row = {"source": picture.as_uri(), "destination": f"{line}.png"}
            file.write(json.dumps(row) + "\n")
    return manifest


def _first_s(system: Running, manifest: Path, number: int) -> float:
    """Return the seconds from the call to the first claim, by the ledger's clock."""
    order = Order(
        source=manifest.as_uri(),
        destination=(manifest.parent / "first" / str(number)).as_uri(),
        endpoint=ENDPOINT,
    )
    called = datetime.now(UTC)
    batch_id = submission.submit(system.ledger, system.storage, order).id
    eventually(lambda: _first(system, batch_id) is not None, within_s=PATIENCE_S)
    with system.ledger.begin() as session:
        batches.cancel(session, batch_id)
    eventually(lambda: _is_over(system, batch_id), within_s=PATIENCE_S)
    first = _first(system, batch_id)
    assert first is not None
    return (first - called).total_seconds()


def _first(system: Running, batch_id: UUID) -> datetime | None:
    with system.ledger.begin() as session:
        found: datetime | None = session.scalar(
            text("select min(started_at) from jobs where batch_id = :id and line <= 100"),
            {"id": batch_id},
        )
    return found


def _is_over(system: Running, batch_id: UUID) -> bool:
    with system.ledger.begin() as session:
        return batches.get(session, batch_id).ended_at is not None
