"""The real stages on a real ledger, and batches of one file for them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from models.catalog import ENDPOINTS, Endpoint
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import Job, JobState
from scheduler.settings import Settings
from scheduler.storage import open_storage
from tests.factories import make_batch, make_row
from tests.pictures import make_pixels, save
from tests.workers.rig import Rig, rig, rows
from workers.chronicle import Chronicle
from workers.devices import Device
from workers.heartbeat import Lease
from workers.residency import Residency
from workers.stock import Stock
from workers.storeroom import Storeroom
from workers.workshop import Workshop

CPU = Device(id="cpu", name="test", memory_bytes=2**30)
PHOTO = save(make_pixels(30, 20), "PNG")


@contextmanager
def real_rig(
    ledger: Ledger,
    settings: Settings,
    *,
    endpoints: Mapping[str, Endpoint] = ENDPOINTS,
    lease: Lease | None = None,
    weights: Path | None = None,
    chosen: Mapping[str, Mapping[str, Any]] | None = None,
    budget_bytes: int = 2**30,
) -> Iterator[Rig]:
    """Run an engine with the real stages for a block."""
    if lease is None:
        lease = Lease(3600)
        lease.renewed(sent_at=10**9)
    storage = open_storage(settings)
    stock = Stock(endpoints=endpoints, folder=weights, chosen=chosen or {})
    workshop = Workshop(
        settings,
        worker="host:1",
        stock=stock,
        ledger=ledger,
        storage=storage,
        storeroom=Storeroom(storage, lease, settings),
        residency=Residency(stock, CPU, budget_bytes=budget_bytes),
        chronicle=Chronicle(lambda _raw: None),
    )
    with rig(ledger, settings, workshop.stages()) as it:
        yield it


def submit(ledger: Ledger, folder: Path, data: bytes, **row: Any) -> UUID:
    """Make a batch of one file below `folder`; its result goes to `folder/out/result.png`."""
    (folder / "in.png").write_bytes(data)
    given = {
        "source": (folder / "in.png").as_uri(),
        "destination": (folder / "out" / "result.png").as_uri(),
    }
    options = json.dumps(row.pop("options", {}))
    place = f"{folder.as_uri()}/"
    owner = row.pop("owner", "")
    rows = [make_row(1, **given | row)]
    return make_batch(ledger, rows, options=options, destination=place, owner=owner)


def only(ledger: Ledger, batch: UUID) -> Job:
    (row,) = rows(ledger, batch)
    return row


def again(ledger: Ledger, batch: UUID) -> None:
    """Put an ended job back as if its worker had died before it could say so."""
    with ledger.begin() as session:
        job = session.query(Job).where(Job.batch_id == batch).one()
        job.state, job.outcome, job.ended_at, job.alone = JobState.WAITING, None, None, True
