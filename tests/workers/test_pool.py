"""The pools' end: it is bounded, however many threads are stuck."""

import threading
import time

from workers.pool import Pool


def test_closing_takes_no_longer_for_many_stuck_threads_than_for_one() -> None:
    release = threading.Event()
    pool = Pool("stuck", 20, lambda: release.wait(20))
    pool.start()
    for _ in range(20):
        pool.put()

    began = time.monotonic()
    ended = pool.close(within_s=0.2)
    took_s = time.monotonic() - began
    release.set()

    assert not ended
    assert took_s < 1.0
