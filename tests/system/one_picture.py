"""One picture through the whole system, as often as a test likes: what tests of models share."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import UUID

from PIL import Image

from scheduler.ledger import fleet
from tests.pictures import make_pixels, save
from tests.system.system import System


def serve_weights(system: System, name: str, write: Callable[[Path], Path]) -> System:
    """Give a system weights of one manifest, and a scheduler, but no worker."""
    weights = system.folder / "weights"
    write(weights / name)
    # Computing takes the cores from the heartbeat: these tests are about pictures, not leases.
    system.adjust(weights=str(weights), lease_s=30.0)
    system.start_scheduler()
    return system


def start_worker(system: System, endpoint: str) -> None:
    """Start a worker of one endpoint, and wait until it is ready."""
    process = system.start_real_worker(endpoints=endpoint)
    system.wait_for("the worker", lambda: process.said("worker.started") and ready(system))


def ready(system: System) -> set[str]:
    """Return the pipelines that some worker is ready for."""
    with system.ledger.begin() as session:
        return set(fleet.ready_counts(session))


def manifest(folder: Path, *rows: Mapping[str, object]) -> Path:
    """Write a manifest of rows about one picture of 60 x 40 pixels."""
    picture = folder / "picture.png"
    picture.write_bytes(save(make_pixels(60, 40, seed=5), "PNG"))
    path = folder / f"{len(rows)}.jsonl"
    lines = [json.dumps({"source": picture.as_uri(), **row}) for row in rows]
    path.write_text("\n".join(lines))
    return path


def run(
    system: System,
    endpoint: str,
    arguments: dict[str, object],
    *rows: Mapping[str, object],
    within_s: float = 100,
) -> UUID:
    """Submit rows about the picture, and wait for the end of their batch."""
    batch = system.submit(
        manifest(system.folder, *rows), endpoint=endpoint, arguments=arguments, again=True
    )
    system.wait_finished(batch, within_s=within_s)
    return batch


def pixels(path: Path) -> bytes:
    """Return the pixels of a result of twice the size: its file also says which job made it."""
    with Image.open(path) as picture:
        assert picture.size == (120, 80)
        return picture.tobytes()
