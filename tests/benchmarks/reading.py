"""Reads one manifest into the ledger; as a program it prints the most memory that it took."""

import sys

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


def submitted(settings: Settings, source: str) -> Reader:
    """Submit a manifest; return who will read it, with the store's client made already."""
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
    return Reader(ledger, storage, settings, read=lambda: None)


def drain(reader: Reader) -> None:
    """Read to the last waiting job."""
    while reader.step():
        pass


if __name__ == "__main__":
    drain(submitted(configuration.load(), sys.argv[1]))
    print(peak_bytes(psutil.Process()))  # noqa: T201 - its result, for the process that started it
