"""`python -m tests.system.paced_worker`: the real worker, with `paced.PacedUpscaler` in it.

Only the class behind the endpoint is another one: queue, engine, leases and stores are the
product's own.
"""

import sys

from tests.system import paced
from workers.__main__ import main

if __name__ == "__main__":
    paced.put_in_place()
    sys.exit(main())
