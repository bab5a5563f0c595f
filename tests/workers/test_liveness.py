"""The signs by which a worker is found to be alive and useless."""

import time

import pytest
from uuid_utils.compat import uuid7

from scheduler import broker
from scheduler.ledger.jobs import Ticket
from scheduler.settings import Settings
from tests.factories import ENDPOINT
from workers.liveness import STALLED_S, Liveness

QUEUE = broker.queue_name(ENDPOINT)


def make_liveness(
    settings: Settings,
    *,
    silent_s: float = 0.0,
    beats: bool = True,
    idle_s: float = 0.0,
    on_device_s: float = 0.0,
) -> Liveness:
    return Liveness(
        settings,
        [QUEUE],
        turned_at=lambda: time.monotonic() - silent_s,
        beats=lambda: beats,
        idle_s=lambda: idle_s,
        on_device_s=lambda: on_device_s,
        stalled=lambda: None,
    )


@pytest.fixture
def waiting_message(settings: Settings) -> None:
    """A message that nobody takes."""
    broker.publish(broker.make_app(settings), ENDPOINT, [[Ticket(uuid7(), 0)]])


@pytest.mark.usefixtures("waiting_message")
def test_a_busy_worker_is_well_whatever_waits(settings: Settings) -> None:
    assert make_liveness(settings).reason_to_go() is None


def test_an_idle_worker_is_well_when_nothing_waits(settings: Settings) -> None:
    assert make_liveness(settings, idle_s=STALLED_S * 9).reason_to_go() is None


@pytest.mark.usefixtures("waiting_message")
def test_an_idle_worker_beside_messages_is_replaced(settings: Settings) -> None:
    reason = make_liveness(settings, idle_s=STALLED_S + 1).reason_to_go()

    assert reason is not None
    assert "though messages wait" in reason


def test_a_loop_that_stands_still_is_replaced(settings: Settings) -> None:
    reason = make_liveness(settings, silent_s=STALLED_S + 1).reason_to_go()

    assert reason is not None
    assert "has not gone round" in reason


def test_a_job_that_hangs_on_the_device_has_its_worker_replaced(settings: Settings) -> None:
    limit = settings.job_deadline_s

    assert make_liveness(settings, on_device_s=limit - 1).reason_to_go() is None
    reason = make_liveness(settings, on_device_s=limit + 1).reason_to_go()

    assert reason is not None
    assert "has had the device" in reason


def test_a_worker_without_heartbeat_is_replaced(settings: Settings) -> None:
    reason = make_liveness(settings, beats=False).reason_to_go()

    assert reason is not None
    assert "heartbeat" in reason


def test_an_absent_redis_is_no_reason_to_go(settings: Settings) -> None:
    away = settings.model_copy(
        update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1/0")}
    )

    assert make_liveness(away, idle_s=STALLED_S + 1).reason_to_go() is None
