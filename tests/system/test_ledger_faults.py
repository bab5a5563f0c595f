"""PostgreSQL restarts in the middle of a batch."""

import random
import signal

import pytest

from tests.system.invariants import check_all_succeeded
from tests.system.system import System, moments

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_restart_of_postgresql_loses_nothing_and_doubles_nothing(
    system: System, chance: random.Random, strikes: int, how: signal.Signals
) -> None:
    jobs = 60 * strikes
    system.start_scheduler()
    system.start_worker()
    batch = system.submit_photos(jobs)

    for moment in moments(chance, strikes, jobs=jobs):
        system.wait_until_ended(batch, moment)
        system.restart_postgres(how)

    system.wait_finished(batch)
    check_all_succeeded(system, batch)
    # Nobody could renew a lease meanwhile, which is no fault of the jobs.
    assert {row.failures for row in system.rows(batch)} == {0}
