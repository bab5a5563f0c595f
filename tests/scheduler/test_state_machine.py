"""Whatever the order of events, every row has one outcome and the counters add up."""

from datetime import timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import text

from scheduler.ledger import batches, jobs, queueing, steering
from scheduler.ledger.jobs import Claimed, Ending, Release, Ticket
from scheduler.ledger.queueing import Line
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from scheduler.sweep import lapse
from tests.factories import ENDPOINT, make_batch, make_rejected, make_row, make_worker

ROWS = 6


class Ledgers(RuleBasedStateMachine):
    """Two workers, stale and doubled messages, lapses, drains, cancellation, in any order."""

    ledger: Ledger

    def __init__(self) -> None:
        super().__init__()
        rows = [make_row(line) for line in range(1, ROWS)] + [make_rejected(ROWS)]
        self.batch = make_batch(self.ledger, rows)
        self.workers = [make_worker(self.ledger, lease_s=3600) for _ in range(2)]
        self.messages: list[Ticket] = []
        self.holds: list[tuple[UUID, Claimed]] = []
        self.outcomes: dict[UUID, str] = {}

    @rule(limit=st.integers(1, ROWS))
    def dispatch(self, limit: int) -> None:
        with self.ledger.begin() as session:
            session.execute(text("update jobs set run_after = now() where state = 'waiting'"))
            now = database_time(session)
            taken = queueing.take(session, Line(self.batch, ENDPOINT), limit=limit, now=now)
        self.messages += [job.ticket for job in taken]

    @rule(data=st.data(), who=st.integers(0, 1), consumed=st.booleans())
    def deliver(self, data: st.DataObject, who: int, *, consumed: bool) -> None:
        """A message arrives; unless consumed, it will arrive again."""
        if not self.messages:
            return
        ticket = data.draw(st.sampled_from(self.messages))
        worker = self.workers[who]
        with self.ledger.begin() as session:
            won = jobs.claim(session, [ticket], worker_id=worker, deadline_s=3600)
        self.holds += [(worker, job) for job in won]
        if consumed:
            self.messages.remove(ticket)

    @rule(data=st.data(), state=st.sampled_from([JobState.SUCCEEDED, JobState.FAILED]))
    def complete(self, data: st.DataObject, state: JobState) -> None:
        """A worker completes what it believes to hold, rightly or not, perhaps twice."""
        if not self.holds:
            return
        worker, job = data.draw(st.sampled_from(self.holds))
        with self.ledger.begin() as session:
            ending = Ending(ticket=job.ticket, state=state)
            ended = jobs.finish(session, [ending], worker_id=worker)
        for id_ in ended:
            assert id_ not in self.outcomes
            self.outcomes[id_] = str(state)

    @rule(data=st.data(), failed=st.booleans())
    def give_back(self, data: st.DataObject, *, failed: bool) -> None:
        if not self.holds:
            return
        worker, job = data.draw(st.sampled_from(self.holds))
        with self.ledger.begin() as session:
            release = Release(ticket=job.ticket, failed=failed)
            jobs.release(session, [release], worker_id=worker)

    @rule()
    def lose_leases(self) -> None:
        with self.ledger.begin() as session:
            ahead = database_time(session) + timedelta(hours=2)
            lapse(session, ahead, Settings(max_failures=2))
        with self.ledger.begin() as session:
            rows = session.execute(text("select id from jobs where state = 'failed'"))
            for row in rows:
                self.outcomes.setdefault(row.id, "failed")

    @rule()
    def lose_messages(self) -> None:
        with self.ledger.begin() as session:
            queueing.unqueue(session, list(queueing.queued(session)))

    @rule()
    def cancel(self) -> None:
        with self.ledger.begin() as session:
            batches.cancel(session, self.batch)
            steering.take_back(session, limit=2)
            steering.cancel_waiting(session, Line(self.batch, ENDPOINT), limit=2)
        with self.ledger.begin() as session:
            for row in session.execute(text("select id from jobs where state = 'cancelled'")):
                assert self.outcomes.setdefault(row.id, "cancelled") == "cancelled"

    @rule()
    def pause(self) -> None:
        with self.ledger.begin() as session:
            steering.pause(session, self.batch)
            steering.take_back(session, limit=2)

    @rule()
    def resume(self) -> None:
        with self.ledger.begin() as session:
            steering.resume(session, self.batch)

    @rule()
    def settle(self) -> None:
        with self.ledger.begin() as session:
            batches.fold(session)
            batches.end_complete(session)

    @invariant()
    def outcomes_never_change(self) -> None:
        with self.ledger.begin() as session:
            rows = session.execute(
                text(
                    "select id, state from jobs where batch_id = :batch and state in"
                    " ('succeeded', 'failed', 'cancelled')"
                ),
                {"batch": self.batch},
            )
            found = {row.id: row.state for row in rows}
        assert found == self.outcomes

    @invariant()
    def counters_are_exact(self) -> None:
        with self.ledger.begin() as session:
            progress = batches.progress(session, self.batch)
            events = session.scalar(
                text("select count(*) from events where batch_id = :b and job_id is not null"),
                {"b": self.batch},
            )
        assert progress.total == ROWS
        assert progress.rejected == 1
        assert progress.ended == len(self.outcomes) + 1
        assert events == progress.ended
        assert (progress.ended_at is not None) <= (progress.ended == ROWS)

    def teardown(self) -> None:
        with self.ledger.begin() as session:
            session.execute(text("truncate jobs, batches, batch_deltas, events, workers, leases"))


@pytest.fixture
def machine(ledger: Ledger) -> type[Ledgers]:
    return type("Machine", (Ledgers,), {"ledger": ledger})


def test_every_row_has_exactly_one_outcome_whatever_happens(machine: type[Ledgers]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
