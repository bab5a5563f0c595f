"""`python -m tests.clients.slow_worker`: the real worker, with `endpoint.SteppedUpscaler` in it."""

import sys

from models import catalog
from tests.clients import endpoint
from workers.__main__ import main

if __name__ == "__main__":
    catalog.ENDPOINTS[endpoint.ENDPOINT] = endpoint.stepped()
    sys.exit(main())
