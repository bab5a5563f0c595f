"""Bundles through the real engine and ledger: what is claimed, what ends how, what is shared."""

import threading
import time
from collections.abc import Callable

import pytest
from sqlalchemy import text

from models.errors import ArgumentInvalid, NotFinite
from scheduler.errors import StorageUnavailable
from scheduler.ledger import batches
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from tests.factories import make_batch
from tests.workers.rig import Barrier, make_stages, rig, rows, states, succeed
from workers.life import Life

SUCCEEDED, FAILED, QUEUED = JobState.SUCCEEDED, JobState.FAILED, JobState.QUEUED


def raising(error: BaseException, *, line: int) -> Callable[..., None]:
    """Return a stage that raises for one line of the batch."""

    def stage(life: Life, *_args: object) -> None:
        if life.job.line == line:
            raise error

    return stage


def test_a_bundle_is_claimed_run_and_completed(ledger: Ledger, settings: Settings) -> None:
    batch = make_batch(ledger, 5)
    with rig(ledger, settings) as it:
        tickets = it.queue(batch)

        it.run(tickets)

    assert states(ledger, batch) == [SUCCEEDED] * 5
    with ledger.begin() as session:
        progress = batches.progress(session, batch)
    assert (progress.succeeded, progress.bytes_out) == (5, 5)


def test_a_second_and_a_stale_delivery_do_nothing(ledger: Ledger, settings: Settings) -> None:
    batch = make_batch(ledger, 3)
    ran: list[int] = []
    with rig(ledger, settings, make_stages(fetch=lambda life: ran.append(life.job.line))) as it:
        tickets = it.queue(batch)
        stale = [ticket._replace(epoch=ticket.epoch + 5) for ticket in tickets]

        it.run(stale)
        it.run(tickets)
        it.run(tickets)

    assert sorted(ran) == [1, 2, 3]
    assert {row.epoch for row in rows(ledger, batch)} == {1}


def test_a_bundle_that_comes_back_short_is_filled_from_the_queued_rows(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 6)
    with rig(ledger, settings) as it:
        tickets = it.queue(batch)
        it.run(tickets[:1])

        it.run(tickets[:3])

    found = states(ledger, batch)
    assert found[:3] == [SUCCEEDED] * 3
    assert sorted(found[3:]) == [QUEUED, QUEUED, SUCCEEDED]


def test_a_wrong_request_fails_at_once_and_says_which_field(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 2)
    error = ArgumentInvalid("scale: 99 is over 16", field="scale")

    with rig(ledger, settings, make_stages(fetch=raising(error, line=1))) as it:
        it.run(it.queue(batch))

    failed, good = rows(ledger, batch)
    assert (failed.state, failed.failures, good.state) == (FAILED, 0, SUCCEEDED)
    assert failed.error == {
        "code": "argument_invalid",
        "kind": "request",
        "message": "scale: 99 is over 16",
        "field": "scale",
    }


def test_an_unwell_world_puts_the_job_back_with_a_failure_and_a_wait(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 1)
    error = StorageUnavailable("503")

    with rig(ledger, settings, make_stages(store=raising(error, line=1))) as it:
        it.run(it.queue(batch))
        with ledger.begin() as session:
            wait_s = session.scalar(
                text("select extract(epoch from run_after - clock_timestamp()) from jobs")
            )

    (row,) = rows(ledger, batch)
    assert (row.state, row.failures, row.worker_id) == (JobState.WAITING, 1, None)
    assert row.error is not None
    assert row.error["code"] == "storage_unavailable"
    assert settings.backoff_s / 2 - 1 < float(wait_s) <= settings.backoff_s


def test_the_last_world_error_of_the_budget_fails_the_job_and_says_after_how_many_attempts(
    ledger: Ledger, settings: Settings
) -> None:
    settings = settings.model_copy(update={"max_failures": 1})
    batch = make_batch(ledger, 1)
    error = StorageUnavailable("503")

    with rig(ledger, settings, make_stages(store=raising(error, line=1))) as it:
        it.run(it.queue(batch))

    (row,) = rows(ledger, batch)
    assert row.state == FAILED
    assert row.error is not None
    assert row.error["message"] == "503 (gave up after 1 attempt)"


@pytest.mark.parametrize(
    "error",
    [
        NotFinite("a NaN"),
        ZeroDivisionError("division by zero"),
        SystemExit(3),
        KeyboardInterrupt(),
        RecursionError("too deep"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("stage", ["fetch", "upscale", "store"])
def test_whatever_a_job_raises_it_fails_alone_with_its_traceback(
    ledger: Ledger, settings: Settings, error: BaseException, stage: str
) -> None:
    batch = make_batch(ledger, 3)

    def broken(life: Life, *args: object) -> object:
        raising(error, line=2)(life)
        return succeed(life) if stage == "store" else None

    with rig(ledger, settings, make_stages(**{stage: broken})) as it:
        it.run(it.queue(batch))
        after = make_batch(ledger, 1)
        it.run(it.queue(after))

    assert states(ledger, batch) == [SUCCEEDED, FAILED, SUCCEEDED]
    assert states(ledger, after) == [SUCCEEDED]
    stored = rows(ledger, batch)[1].error
    assert stored is not None
    assert stored["kind"] == "program"
    assert "in raising" in stored["traceback"] or "in stage" in stored["traceback"]


def test_a_result_that_the_ledger_refuses_fails_its_own_job_only(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 3)

    def store(life: Life, _enlarged: None) -> object:
        ending = succeed(life)
        return (
            type(ending)(ticket=ending.ticket, state=ending.state, outcome='{"no": JSON}')
            if life.job.line == 2
            else ending
        )

    with rig(ledger, settings, make_stages(store=store)) as it:
        it.run(it.queue(batch))

    assert states(ledger, batch) == [SUCCEEDED, FAILED, SUCCEEDED]


def test_text_that_postgres_cannot_hold_is_kept_readable(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 1)
    error = ArgumentInvalid("bad \0 name \ud800", field="scale")

    with rig(ledger, settings, make_stages(fetch=raising(error, line=1))) as it:
        it.run(it.queue(batch))

    (row,) = rows(ledger, batch)
    assert row.error is not None
    assert row.error["message"] == "bad \N{REPLACEMENT CHARACTER} name ?"


def test_completions_of_a_bundle_commit_together(ledger: Ledger, settings: Settings) -> None:
    batch = make_batch(ledger, 30)
    with rig(ledger, settings) as it:
        it.run(it.queue(batch))

    with ledger.begin() as session:
        commits = session.scalar(text("select count(distinct xmin::text) from jobs"))
    assert 1 <= commits <= 3


def test_no_finished_result_waits_for_its_bundle(ledger: Ledger, settings: Settings) -> None:
    batch = make_batch(ledger, 2)
    slow = Barrier()

    def upscale(life: Life, _fetched: None) -> None:
        if life.job.line == 2:
            slow.pass_through()

    with rig(ledger, settings, make_stages(upscale=upscale)) as it:
        run = it.hand_in(it.queue(batch))
        slow.await_arrival()
        began = time.monotonic()
        while states(ledger, batch)[0] != SUCCEEDED:
            assert time.monotonic() - began < 2.0, "the first result waited for the second job"
        unfinished = states(ledger, batch)[1]
        slow.open.set()
        run.join()

    assert unfinished == JobState.RUNNING
    assert states(ledger, batch) == [SUCCEEDED, SUCCEEDED]


def test_fetching_and_storing_go_on_while_the_device_is_busy(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 3)
    device, fetched = Barrier(), threading.Semaphore(0)

    def upscale(life: Life, _fetched: None) -> None:
        if life.job.line == 1:
            device.pass_through()

    stages = make_stages(fetch=lambda _life: fetched.release(), upscale=upscale)
    with rig(ledger, settings, stages) as it:
        tickets = it.queue(batch)
        runs = [it.hand_in(tickets[:1])]
        device.await_arrival()
        runs += [it.hand_in(tickets[1:2]), it.hand_in(tickets[2:])]

        got = [fetched.acquire(timeout=10) for _ in range(3)]
        device.open.set()
        for run in runs:
            run.join()

    assert got == [True] * 3
    assert states(ledger, batch) == [SUCCEEDED] * 3


def test_a_job_that_lapsed_runs_with_no_neighbour_and_starts_none_beside_it(
    ledger: Ledger, settings: Settings
) -> None:
    suspect, others = make_batch(ledger, 1), make_batch(ledger, 8)
    with ledger.begin() as session:
        session.execute(
            text("update jobs set alone = true, failures = 1 where batch_id = :id"), {"id": suspect}
        )
    inside: list[set[bool]] = []
    running: list[bool] = []
    lock = threading.Lock()

    def upscale(life: Life, _fetched: None) -> None:
        with ledger.begin() as session:
            found = session.scalars(
                text("select alone from jobs where state = 'running' order by alone")
            )
            with lock:
                inside.append(set(found))
                running.append(life.job.alone)

    with rig(ledger, settings, make_stages(upscale=upscale)) as it:
        lone, rest = it.queue(suspect), it.queue(others)
        runs = [it.hand_in(rest[:2]), it.hand_in(rest[2:4]), it.hand_in(lone)]
        runs += [it.hand_in(rest[4:6]), it.hand_in(rest[6:])]
        for run in runs:
            run.join()

    assert running.count(True) == 1
    assert all(len(each) == 1 for each in inside), "a lone job was claimed beside others"
    assert states(ledger, suspect) == [SUCCEEDED]
    assert states(ledger, others) == [SUCCEEDED] * 8


def test_lone_jobs_in_one_message_run_one_after_the_other(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 4)
    with ledger.begin() as session:
        session.execute(text("update jobs set alone = true where line in (2, 3)"))
    together: list[tuple[int, int]] = []

    def upscale(life: Life, _fetched: None) -> None:
        with ledger.begin() as session:
            count = session.scalar(text("select count(*) from jobs where state = 'running'"))
        together.append((life.job.line, int(count or 0)))

    with rig(ledger, settings, make_stages(upscale=upscale)) as it:
        it.run(it.queue(batch))

    assert states(ledger, batch) == [SUCCEEDED] * 4
    assert {line: count for line, count in together if line in (2, 3)} == {2: 1, 3: 1}


def test_jobs_of_a_cancelled_batch_are_not_claimed(ledger: Ledger, settings: Settings) -> None:
    batch = make_batch(ledger, 2)
    with rig(ledger, settings) as it:
        tickets = it.queue(batch)
        with ledger.begin() as session:
            batches.cancel(session, batch)

        it.run(tickets)

    assert states(ledger, batch) == [QUEUED, QUEUED]


def test_the_time_that_a_job_holds_the_device_can_be_asked(
    ledger: Ledger, settings: Settings
) -> None:
    batch = make_batch(ledger, 1)
    seen: list[float] = []

    with rig(
        ledger, settings, make_stages(upscale=lambda *_: seen.append(it.engine.on_device_s()))
    ) as it:
        it.run(it.queue(batch))
        after = it.engine.on_device_s()

    assert seen[0] > 0
    assert after == 0
