from collections.abc import Callable
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from scheduler.dispatch import claimants_by_pipeline
from scheduler.errors import BatchUnknown
from scheduler.ledger import batches, intake, jobs, queueing, retries, rows, steering
from scheduler.ledger.jobs import Ending
from scheduler.ledger.queueing import Line
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.loop import settle
from scheduler.settings import Settings
from scheduler.steering import AT_ONCE, Steerer
from tests.factories import ENDPOINT, make_batch, make_chunk, make_row, make_submission, make_worker
from tests.scheduler.command import enlarger
from tests.scheduler.test_jobs import claim, queue


def pause(ledger: Ledger, batch: UUID) -> bool:
    with ledger.begin() as session:
        return steering.pause(session, batch)


def resume(ledger: Ledger, batch: UUID) -> bool:
    with ledger.begin() as session:
        return steering.resume(session, batch)


def state(ledger: Ledger, batch: UUID) -> str:
    with ledger.begin() as session:
        return batches.get(session, batch).state


def test_nothing_of_a_paused_batch_starts_and_after_it_the_same_message_may(ledger: Ledger) -> None:
    batch, worker = make_batch(ledger, 2), make_worker(ledger)
    tickets = queue(ledger, batch)

    assert (pause(ledger, batch), pause(ledger, batch)) == (True, False)
    assert claim(ledger, tickets, worker) == []
    with ledger.begin() as session:
        assert claimants_by_pipeline(session) == {}

    assert (resume(ledger, batch), resume(ledger, batch)) == (True, False)
    assert len(claim(ledger, tickets, worker)) == 2


def test_what_a_paused_batch_had_queued_is_taken_back_to_the_end_of_its_line(
    ledger: Ledger,
) -> None:
    paused, other = make_batch(ledger, 5), make_batch(ledger, 5)
    first = queue(ledger, paused, limit=3)
    queue(ledger, other, limit=3)
    pause(ledger, paused)

    Steerer(ledger).step()

    with ledger.begin() as session:
        assert len(queueing.queued(session)) == 3
    resume(ledger, paused)
    assert queue(ledger, paused, limit=5)[2:] == first


def test_what_runs_is_finished_and_a_batch_with_nothing_else_ends(ledger: Ledger) -> None:
    batch, worker = make_batch(ledger, 1), make_worker(ledger)
    held = claim(ledger, queue(ledger, batch), worker)[0]
    pause(ledger, batch)
    Steerer(ledger).step()

    with ledger.begin() as session:
        ending = Ending(ticket=held.ticket, state=JobState.SUCCEEDED)
        assert jobs.finish(session, [ending], worker_id=worker) == {held.id}

    assert settle(ledger) == 1
    assert state(ledger, batch) == "finished"
    assert not resume(ledger, batch)


def test_a_paused_source_is_read_no_further_and_then_from_where_it_stood(ledger: Ledger) -> None:
    submission = make_submission()
    first = make_chunk([make_row(1)], last=False)
    second = make_chunk([make_row(2)], before=first.cursor)
    with ledger.begin() as session:
        batches.submit(session, submission, again=False)
        intake.append(session, submission.id, first)
    pause(ledger, submission.id)

    with ledger.begin() as session:
        assert not intake.append(session, submission.id, second)
    assert settle(ledger) == 0
    resume(ledger, submission.id)
    assert state(ledger, submission.id) == "reading"
    with ledger.begin() as session:
        assert intake.append(session, submission.id, second)
    assert state(ledger, submission.id) == "open"


def test_a_paused_batch_can_be_cancelled(ledger: Ledger) -> None:
    batch = make_batch(ledger, 2)
    pause(ledger, batch)
    with ledger.begin() as session:
        assert batches.cancel(session, batch)

    steerer = Steerer(ledger)
    assert steerer.step()
    assert not steerer.step()
    assert settle(ledger) == 1
    assert state(ledger, batch) == "cancelled"


def test_cancelling_ends_a_chunk_a_step_and_the_counters_stay_exact(ledger: Ledger) -> None:
    count = AT_ONCE + 10
    batch = make_batch(ledger, count)
    with ledger.begin() as session:
        batches.cancel(session, batch)

    steerer = Steerer(ledger)
    assert steerer.step()
    with ledger.begin() as session:
        assert batches.progress(session, batch).cancelled == AT_ONCE
    assert steerer.step()
    assert not steerer.step()
    settle(ledger)

    with ledger.begin() as session:
        progress = batches.progress(session, batch)
    assert (progress.cancelled, progress.ended_at is not None) == (count, True)


def test_what_a_cancelled_batch_had_queued_is_cancelled_too_and_an_open_one_is_left_alone(
    ledger: Ledger,
) -> None:
    batch, other = make_batch(ledger, 3), make_batch(ledger, 3)
    queue(ledger, batch, limit=2)
    with ledger.begin() as session:
        assert steering.cancel_waiting(session, Line(other, ENDPOINT), limit=9) is None
        batches.cancel(session, batch)

    Steerer(ledger).step()

    assert states(ledger, batch) == ["cancelled"] * 3
    assert states(ledger, other) == ["waiting"] * 3


def failed_batch(ledger: Ledger, count: int) -> UUID:
    """Make a batch of which the odd rows failed, and the others were cancelled."""
    batch = make_batch(ledger, count)
    odd = [t for t in queue(ledger, batch, limit=count) if t.job_id.int % 2]
    endings = [Ending(ticket=ticket, state=JobState.FAILED, error="{}") for ticket in odd]
    with ledger.begin() as session:
        jobs.finish(session, endings, from_states=[JobState.QUEUED])
        batches.cancel(session, batch)
    Steerer(ledger).step()
    assert settle(ledger) == 1
    return batch


def test_a_retry_changes_one_row_and_the_jobs_follow_in_chunks_and_the_counters_stay_exact(
    ledger: Ledger,
) -> None:
    batch = failed_batch(ledger, 6)

    with ledger.begin() as session:
        count = retries.retry(session, batch, [JobState.FAILED])
    at_once = states(ledger, batch)
    with ledger.begin() as session:
        assert retries.go_on(session, limit=4)
    first_chunk = states(ledger, batch)
    assert settle(ledger) == 0, "it does not end while it is being retried"
    with ledger.begin() as session:
        assert retries.go_on(session, limit=4)
        assert not retries.go_on(session, limit=4)

    assert count == 3
    assert at_once == ["failed", "cancelled"] * 3
    assert first_chunk == ["waiting", "cancelled"] * 2 + ["failed", "cancelled"]
    assert states(ledger, batch) == ["waiting", "cancelled"] * 3
    with ledger.begin() as session:
        progress = batches.progress(session, batch)
    assert (progress.state, progress.failed, progress.cancelled) == ("open", 0, 3)
    assert progress.ended_at is None


def test_a_cancellation_stops_a_retry(ledger: Ledger) -> None:
    batch = failed_batch(ledger, 6)
    with ledger.begin() as session:
        retries.retry(session, batch, [JobState.FAILED])
        retries.go_on(session, limit=2)
        batches.cancel(session, batch)

    Steerer(ledger).step()

    assert states(ledger, batch) == ["cancelled", "cancelled", *["failed", "cancelled"] * 2]
    assert settle(ledger) == 1


def test_a_small_retry_does_not_wait_for_a_large_one(ledger: Ledger) -> None:
    large, small = failed_batch(ledger, 6), failed_batch(ledger, 2)
    with ledger.begin() as session:
        retries.retry(session, large, [JobState.FAILED])
        retries.retry(session, small, [JobState.FAILED])
        for _ in range(3):
            retries.go_on(session, limit=2)

    assert states(ledger, small) == ["waiting", "cancelled"]
    assert states(ledger, large)[-2:] == ["failed", "cancelled"]


def states(ledger: Ledger, batch: UUID) -> list[str]:
    with ledger.begin() as session:
        return [row.state for row in rows.page(session, batch, after=0, limit=100)]


@pytest.mark.parametrize("act", [pause, resume])
def test_an_unknown_batch_is_refused(ledger: Ledger, act: Callable[[Ledger, UUID], bool]) -> None:
    with pytest.raises(BatchUnknown, match="is unknown"):
        act(ledger, uuid7())


def test_the_commands_say_what_they_did(settings: Settings, ledger: Ledger) -> None:
    batch = make_batch(ledger, 1)

    answers = [
        enlarger(*words, settings=settings).err
        for words in (
            ("pause", batch.hex[-8:]),
            ("pause", batch.hex[-8:]),
            ("resume", batch.hex[-8:]),
            ("resume", batch.hex[-8:]),
            ("prioritize", batch.hex[-8:], "-7"),
        )
    ]

    assert answers == [
        "Paused.\n",
        "It is paused already, or nothing of it is left to start.\n",
        "Resumed.\n",
        "It is not paused; `enlarger status` shows where it stands.\n",
        "Its priority is -7.\n",
    ]
    with ledger.begin() as session:
        assert batches.get(session, batch).priority == -7


def test_a_priority_beyond_its_limits_is_refused(settings: Settings, ledger: Ledger) -> None:
    answer = enlarger("prioritize", make_batch(ledger, 1).hex[-8:], "101", settings=settings)

    assert answer.code == 2
    assert "-100<=x<=100" in answer.err
