"""``python -m workers.check``: what this host can do, as one JSON object, for ``enlarger doctor``.

The doctor asks in a process of its own, since it must not load what only workers need.
"""

import json
import sys
from dataclasses import asdict

from models import catalog
from scheduler import settings
from workers import mirror
from workers.devices import look
from workers.stock import Stock, readiness


def main() -> None:
    """Print the devices, and which endpoints could be served here."""
    loaded = settings.load()
    stock = Stock(
        endpoints=catalog.ENDPOINTS, folder=mirror.local_copy(loaded), chosen=loaded.options
    )
    found = readiness(stock, list(catalog.ENDPOINTS))
    answer = {
        "devices": [asdict(device) for device in look()],
        "ready": list(found.ready),
        "not_ready": found.not_ready,
    }
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
