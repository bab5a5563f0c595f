from collections.abc import Sequence
from uuid import UUID

from celery import Task
from pydantic import SecretStr

from scheduler import broker
from scheduler.ledger.jobs import Ticket
from scheduler.settings import Settings
from workers import tasks

SETTINGS = Settings(redis_url=SecretStr("redis://127.0.0.1:1/0"))  # never connected to
JOB = UUID("01990000-0000-7000-8000-000000000001")


def registered(ran: list[Sequence[Ticket]]) -> Task[..., None]:
    app = broker.make_app(SETTINGS)
    tasks.register(app, ran.append)
    task: Task[..., None] = app.tasks[broker.UPSCALE]
    return task


def test_every_app_of_a_process_runs_its_own_function() -> None:
    one: list[Sequence[Ticket]] = []
    two: list[Sequence[Ticket]] = []
    registered(one)
    second = registered(two)

    second([[str(JOB), 3]])

    assert one == []
    assert two == [[Ticket(JOB, 3)]]


def test_a_message_that_is_no_bundle_runs_nothing() -> None:
    ran: list[Sequence[Ticket]] = []

    registered(ran)([["no id", 3]])

    assert ran == []
