"""What becomes of a job by the kind of its error."""

import json
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from models.errors import Cancelled
from scheduler.errors import StorageUnavailable
from scheduler.ledger.jobs import Claimed, Ending, Release
from scheduler.ledger.lapses import MAX_FAILURES
from scheduler.settings import Settings
from tests.factories import make_row
from workers.life import Bundle, Life, Unwanted
from workers.verdict import TRACEBACK_CHARACTERS, backoff_s, verdict

SETTINGS = Settings(backoff_s=5.0, backoff_max_s=60.0, max_failures=3)


def make_life(*, failures: int = 0, options: dict[str, Any] | None = None) -> Life:
    row = make_row(1)
    job = Claimed(
        id=uuid7(),
        epoch=1,
        batch_id=uuid7(),
        line=1,
        endpoint=row.endpoint,
        pipeline=row.pipeline,
        source="file:///in.png",
        source_version=None,
        destination="file:///out.png",
        arguments={},
        seed=7,
        failures=failures,
        alone=False,
        owner="",
        options=options or {},
        folder="file:///",
    )
    return Life(job, Bundle(1))


@pytest.mark.parametrize(
    ("failures", "least", "most"), [(0, 2.5, 5.0), (1, 5.0, 10.0), (9, 30.0, 60.0), (5000, 30, 60)]
)
def test_the_wait_doubles_with_each_failure_up_to_a_limit(
    failures: int, least: float, most: float
) -> None:
    waits = [backoff_s(failures, SETTINGS) for _ in range(50)]

    assert least <= min(waits)
    assert max(waits) <= most
    assert len(set(waits)) > 1, "jobs that failed together do not come back together"


@pytest.mark.parametrize(("failures", "expected"), [(0, Release), (1, Release), (2, Ending)])
def test_a_world_error_is_retried_within_the_budget(failures: int, expected: type) -> None:
    result = verdict(make_life(failures=failures), StorageUnavailable("503"), SETTINGS)

    assert type(result) is expected


def test_a_lack_of_memory_is_the_world_s_fault() -> None:
    result = verdict(make_life(), MemoryError(), SETTINGS)

    assert isinstance(result, Release)
    assert result.failed
    assert json.loads(str(result.error))["code"] == "out_of_memory"


def test_a_traceback_is_kept_by_its_end() -> None:
    def deep(levels: int) -> None:
        if levels == 0:
            raise ZeroDivisionError("x" * 100_000)
        deep(levels - 1)

    with pytest.raises(ZeroDivisionError) as caught:
        deep(50)
    result = verdict(make_life(), caught.value, SETTINGS)

    assert isinstance(result, Ending)
    error = json.loads(str(result.error))
    assert len(error["traceback"]) == TRACEBACK_CHARACTERS
    assert len(error["message"]) <= 2000


class Unprintable(Exception):
    """Raises again when somebody wants to know what it says."""

    def __str__(self) -> str:
        raise RuntimeError


def test_an_error_that_cannot_even_be_printed_fails_its_job() -> None:
    result = verdict(make_life(), Unprintable(), SETTINGS)

    assert isinstance(result, Ending)
    assert "Unprintable" in json.loads(str(result.error))["message"]


@pytest.mark.parametrize(
    ("why", "expected"),
    [(Unwanted.CANCELLED, Ending), (Unwanted.DRAINED, Release), (Unwanted.LOST, type(None))],
)
def test_an_unwanted_job_ends_as_what_it_became(why: Unwanted, expected: type) -> None:
    life = make_life()
    life.give_up(why)

    result = verdict(life, Cancelled(), SETTINGS)

    assert type(result) is expected
    assert not isinstance(result, Release) or not result.failed


def test_the_first_reason_to_give_up_counts() -> None:
    life = make_life()

    life.give_up(Unwanted.LOST)
    life.give_up(Unwanted.DRAINED)

    assert life.unwanted is Unwanted.LOST


def test_a_model_that_cancels_itself_has_a_bug() -> None:
    result = verdict(make_life(), Cancelled(), SETTINGS)

    assert isinstance(result, Ending)
    assert json.loads(str(result.error))["kind"] == "program"


def test_a_job_whose_batch_allows_no_second_try_fails_at_its_first_failure() -> None:
    result = verdict(make_life(options={MAX_FAILURES: 1}), StorageUnavailable("503"), SETTINGS)

    assert isinstance(result, Ending)
    assert "gave up after 1 attempt" in str(result.error)
