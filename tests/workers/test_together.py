"""Jobs that share a call on the device: who joins, and that each keeps an end of its own."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from models.errors import ArgumentInvalid
from scheduler.ledger.jobs import Ending
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from tests.factories import make_batch
from tests.workers.rig import PATIENCE_S, Barrier, make_stages, rig, rows, states, succeed
from workers.life import Life, Unwanted
from workers.stages import Stages, Together

SUCCEEDED, FAILED, CANCELLED = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED

Group = Sequence[tuple[Life, int]]


@dataclass
class Device:
    """Records who came by itself and who in company; line 1 keeps it busy until all others wait.

    Attributes:
        jobs: How many come; one more fails before it does, and says that all others are there.
        room: For so many jobs at once.
        bad: The line that fails, also in company.
        apart: In company it fails alone, instead of spoiling the call.
    """

    jobs: int
    room: int = 100
    bad: int | None = None
    apart: bool = False
    barrier: Barrier = field(default_factory=Barrier)
    all_wait: threading.Event = field(default_factory=threading.Event)
    alone: list[int] = field(default_factory=list)
    groups: list[list[int]] = field(default_factory=list)

    def stages(self, store: Callable[..., Ending] = succeed) -> Stages:
        together = Together(
            has_room=lambda group, _: len(group) < self.room, upscale=self.upscale_together
        )
        return make_stages(fetch=self.fetch, upscale=self.upscale, store=store, together=together)

    def fetch(self, life: Life) -> int:
        if life.job.line > 1:  # only when line 1 has the device
            self.barrier.await_arrival()
        if life.job.line > self.jobs:
            self.all_wait.set()
            message = "the last"
            raise ArgumentInvalid(message)
        return life.job.line

    def upscale(self, life: Life, line: int) -> int:
        if line == 1:
            self.barrier.pass_through()
        self.alone.append(line)
        self._check(line)
        return line

    def upscale_together(self, group: Group) -> list[int | Exception]:
        lines = [line for _, line in group]
        self.groups.append(lines)
        if self.apart:
            return [ArithmeticError() if line == self.bad else line for line in lines]
        for line in lines:
            self._check(line)
        return lines

    def _check(self, line: int) -> None:
        if line == self.bad:
            message = f"line {line} is bad"
            raise ZeroDivisionError(message)


def submit(ledger: Ledger, device: Device) -> UUID:
    return make_batch(ledger, device.jobs + 1)


def run(
    ledger: Ledger, settings: Settings, batch: UUID, device: Device, stages: Stages | None = None
) -> None:
    """Let all but the first job wait for the device before it becomes free."""
    with rig(ledger, settings, stages or device.stages()) as it:
        it.hand_in(it.queue(batch))
        assert device.all_wait.wait(PATIENCE_S)
        device.barrier.open.set()


def outcomes(ledger: Ledger, batch: UUID) -> list[JobState]:
    return states(ledger, batch)[:-1]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """One thread fetches, so that jobs come to the device in order."""
    return settings.model_copy(update={"fetch_threads": 1})


def test_what_waits_for_the_device_goes_through_it_in_one_call_in_order(
    ledger: Ledger, settings: Settings
) -> None:
    device = Device(jobs=10, room=4)
    batch = submit(ledger, device)

    run(ledger, settings, batch, device)

    assert outcomes(ledger, batch) == [SUCCEEDED] * 10
    assert device.alone == [1, 10]
    assert device.groups == [[2, 3, 4, 5], [6, 7, 8, 9]]


def test_time_on_the_device_is_shared(ledger: Ledger, settings: Settings) -> None:
    device = Device(jobs=4)
    batch = submit(ledger, device)
    shares = {}

    def store(life: Life, line: int) -> Ending:
        if line > 1:
            shares[line] = life.device_s
        return succeed(life)

    run(ledger, settings, batch, device, device.stages(store))

    assert set(shares) == {2, 3, 4}
    assert len(set(shares.values())) == 1
    assert 0 < sum(shares.values()) < 0.5


def test_a_job_that_spoils_a_call_fails_alone(ledger: Ledger, settings: Settings) -> None:
    device = Device(jobs=5, bad=3)
    batch = submit(ledger, device)

    run(ledger, settings, batch, device)

    assert outcomes(ledger, batch) == [SUCCEEDED, SUCCEEDED, FAILED, SUCCEEDED, SUCCEEDED]
    assert device.groups == [[2, 3, 4, 5]]
    assert device.alone == [1, 2, 3, 4, 5]
    error = rows(ledger, batch)[2].error
    assert error is not None
    assert "line 3 is bad" in error["message"]


def test_a_job_that_fails_in_a_call_without_spoiling_it_is_done_again_alone(
    ledger: Ledger, settings: Settings
) -> None:
    device = Device(jobs=5, bad=3, apart=True)
    batch = submit(ledger, device)

    run(ledger, settings, batch, device)

    assert outcomes(ledger, batch) == [SUCCEEDED, SUCCEEDED, FAILED, SUCCEEDED, SUCCEEDED]
    assert device.groups == [[2, 3, 4, 5]]
    assert device.alone == [1, 3]
    error = rows(ledger, batch)[2].error
    assert error is not None
    assert "line 3 is bad" in error["message"]


def test_a_call_that_gives_too_few_results_is_done_again_one_by_one(
    ledger: Ledger, settings: Settings
) -> None:
    device = Device(jobs=3)
    batch = submit(ledger, device)
    stages = make_stages(
        fetch=device.fetch,
        upscale=device.upscale,
        together=Together(has_room=lambda *_: True, upscale=lambda group: [group[0][1]]),
    )

    run(ledger, settings, batch, device, stages)

    assert outcomes(ledger, batch) == [SUCCEEDED] * 3
    assert device.alone == [1, 2, 3]


def test_a_job_that_is_cancelled_while_it_waits_is_not_computed(
    ledger: Ledger, settings: Settings
) -> None:
    device = Device(jobs=4)
    batch = submit(ledger, device)

    with rig(ledger, settings, device.stages()) as it:
        it.hand_in(it.queue(batch))
        assert device.all_wait.wait(PATIENCE_S)
        third = rows(ledger, batch)[2].id
        tickets = [ticket for ticket in it.engine.running() if ticket.job_id == third]
        it.engine.give_up(tickets, Unwanted.CANCELLED)
        device.barrier.open.set()

    assert outcomes(ledger, batch) == [SUCCEEDED, SUCCEEDED, CANCELLED, SUCCEEDED]
    assert 3 not in device.alone
    assert device.groups == []
