"""The object store is unwell for a while, for the scheduler and the worker alike."""

import random

import pytest

from tests.system.gateway import Fault, Gateway
from tests.system.invariants import check_all_succeeded
from tests.system.system import System, moments, photo

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("fault", Fault)
def test_a_store_that_is_unwell_for_a_while_delays_jobs_and_fails_none(
    system: System, store: Gateway, chance: random.Random, strikes: int, fault: Fault, bucket: str
) -> None:
    jobs = 40 * strikes
    # Patience is what is tested: how long one attempt waits, and how many there are.
    system.adjust(storage_timeout_s=1.0, storage_attempts=2, max_failures=100 * strikes)
    client = system.use_store(store)
    for number in range(jobs):
        client.put_object(Bucket=bucket, Key=f"photos/{number}.png", Body=photo(number))
    system.start_scheduler()
    system.start_worker()
    batch = system.submit(f"s3://{bucket}/photos/", destination=f"s3://{bucket}/results/")

    for moment in moments(chance, strikes, jobs=jobs):
        system.wait_until_ended(batch, moment)
        store.strike(fault)
        system.wait_for("requests to suffer", lambda: store.refusals >= 10, within_s=60)
        store.heal()

    system.wait_finished(batch, within_s=90)
    check_all_succeeded(system, batch)
