"""What a worker tells of its jobs: those that ended by it, in the ledger, and no others."""

from scheduler.ledger.fleet import BUCKETS_S, EndedFigure
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from tests.factories import ENDPOINT, make_batch
from tests.workers.rig import make_stages, rig
from workers.life import Life


def fetch(life: Life) -> None:
    with life.timed("fetch_s"):
        if life.job.line == 1:
            raise ZeroDivisionError


def test_endings_are_counted_once_they_are_in_the_ledger(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 3)
    with rig(ledger, settings, make_stages(fetch=fetch)) as it:
        tickets = it.queue(batch)
        it.run(tickets)
        it.run(tickets)  # delivered twice: the second one ends nothing
        found = it.engine.tally.figures()

    assert sorted(found.ended) == [
        EndedFigure(ENDPOINT, "failed", "program_failed", 1, "program"),
        EndedFigure(ENDPOINT, "succeeded", "", 2, ""),
    ]
    stages = {each.stage: each for each in found.stages}
    assert sum(stages["fetch"].counts) == sum(stages["device"].counts) == 3
    assert len(stages["fetch"].counts) == len(BUCKETS_S) + 1
    assert stages["fetch"].sum_s < 3 * BUCKETS_S[0], "the quickest bucket has them all"
