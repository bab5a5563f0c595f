from uuid import UUID

from sqlalchemy import select

from scheduler.ledger import batches, intake
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import Batch, Event, Job
from tests.factories import make_batch, make_chunk, make_rejected, make_row, make_submission


def rows_of(ledger: Ledger, batch_id: UUID) -> list[Job]:
    with ledger.begin() as session:
        return list(session.scalars(select(Job).where(Job.batch_id == batch_id).order_by(Job.line)))


def test_a_chunk_moves_rows_cursor_and_counters_in_one_transaction(ledger: Ledger) -> None:
    batch = make_batch(ledger, [make_row(1), make_rejected(2), make_row(3)])

    assert [job.state for job in rows_of(ledger, batch)] == ["waiting", "rejected", "waiting"]
    with ledger.begin() as session:
        progress = batches.progress(session, batch)
        assert (progress.total, progress.rejected, progress.ended) == (3, 1, 1)
        assert session.get_one(Batch, batch).cursor == {"line": 3}
        told = session.scalars(select(Event.type).where(Event.job_id.is_not(None))).all()
    assert told == ["job.rejected"]


def test_the_second_row_with_the_same_destination_is_rejected(ledger: Ledger) -> None:
    same = "file:///results/same.png"
    rows = [make_row(1, destination=same), make_row(2), make_row(3, destination=same)]

    batch = make_batch(ledger, rows)

    jobs = rows_of(ledger, batch)
    assert [job.state for job in jobs] == ["waiting", "waiting", "rejected"]
    assert jobs[2].error["field"] == "destination"
    assert same in jobs[2].error["message"]


def test_the_same_destination_is_noticed_across_chunks(ledger: Ledger) -> None:
    same = "file:///results/same.png"
    submission = make_submission()
    with ledger.begin() as session:
        batches.submit(session, submission, again=False)
        first = make_chunk([make_row(1, destination=same)], last=False)
        intake.append(session, submission.id, first)

    with ledger.begin() as session:
        second = make_chunk([make_row(2, destination=same)], before=first.cursor)
        intake.append(session, submission.id, second)

    assert [job.state for job in rows_of(ledger, submission.id)] == ["waiting", "rejected"]


def test_two_batches_may_write_the_same_destination(ledger: Ledger) -> None:
    rows = rows_of(ledger, make_batch(ledger, 1)) + rows_of(ledger, make_batch(ledger, 1))

    assert [job.state for job in rows] == ["waiting", "waiting"]


def test_a_chunk_read_from_an_old_cursor_adds_nothing(ledger: Ledger) -> None:
    batch = make_batch(ledger, [make_row(1)])
    reopened = make_chunk([make_row(1)])

    with ledger.begin() as session:
        added = intake.append(session, batch, reopened)

    assert added is False
    assert len(rows_of(ledger, batch)) == 1


def test_a_cancelled_batch_takes_no_more_rows(ledger: Ledger) -> None:
    submission = make_submission()
    with ledger.begin() as session:
        batches.submit(session, submission, again=False)
        batches.cancel(session, submission.id)

        added = intake.append(session, submission.id, make_chunk([make_row(1)]))

    assert added is False


def test_the_same_submission_is_the_same_batch(ledger: Ledger) -> None:
    one = make_submission(fingerprint="same")
    two = make_submission(fingerprint="same")
    three = make_submission(fingerprint="same")

    with ledger.begin() as session:
        first = batches.submit(session, one, again=False)
        second = batches.submit(session, two, again=False)
        forced = batches.submit(session, three, again=True)

    assert first == (one.id, True)
    assert second == (one.id, False)
    assert forced == (three.id, True)


def test_an_empty_source_ends_at_once(ledger: Ledger) -> None:
    batch = make_batch(ledger, [])

    with ledger.begin() as session:
        batches.fold(session)
        ended = batches.end_complete(session)

    assert ended == [batch]
