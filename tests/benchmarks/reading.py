"""Reads one manifest into the ledger; as a program it prints the most memory that it took."""

import sys
import time

import psutil

from scheduler import settings as configuration
from scheduler.ingest import Reader
from scheduler.ledger import batches
from scheduler.ledger.session import Ledger
from scheduler.manifests import open_source
from scheduler.settings import Settings
from scheduler.storage import open_storage
from tests.benchmarks.servers import peak_bytes
from tests.factories import make_submission


def read(settings: Settings, source: str) -> float:
    """Return the seconds that it takes from a batch's row to its last waiting job."""
    ledger, storage = Ledger(settings), open_storage(settings)
    made = make_submission(
        source=source,
        source_version=open_source(storage, source).version(),
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
    return seconds


if __name__ == "__main__":
    read(configuration.load(), sys.argv[1])
    print(peak_bytes(psutil.Process()))  # noqa: T201 - its result, for the process that started it
