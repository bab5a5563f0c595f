"""`enlarger webhooks` as its users call it, and the sender's process when it is killed."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_network

import pytest
from standardwebhooks import Webhook

from scheduler.ledger import delivery_records
from scheduler.ledger.delivery_records import Choice
from scheduler.ledger.session import Ledger
from scheduler.ledger.subscriptions import subscribe
from scheduler.settings import Settings
from tests.consumer import consumer
from tests.factories import make_batch
from tests.faulty_http import Faulty, Request
from tests.processes import eventually
from tests.scheduler.command import COMMAND, enlarger, surroundings
from tests.scheduler.test_subscriptions import end


@pytest.fixture
def local(settings: Settings) -> Settings:
    """Settings of a system that may send to this machine, and needs no Redis for it."""
    changes = {"webhook_allow": (ip_network("127.0.0.0/8"),), "webhook_timeout_s": 0.3}
    return settings.model_copy(update={**changes, "redis_url": None})


@contextmanager
def sender(settings: Settings) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen([*COMMAND, "sender"], env=surroundings(settings))
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def test_a_subscription_from_its_beginning_to_its_end(ledger: Ledger, local: Settings) -> None:
    batch = make_batch(ledger, 2)
    status = 404
    with consumer(lambda request, _: request.answer(status, b"said the consumer")) as server:
        added = enlarger(
            "webhooks", "add", server.url, "--events", "job.succeeded", "--json", settings=local
        )
        with sender(local) as process:
            end(ledger, batch)
            eventually(lambda: tries(ledger) == [1, 1])
            shown = enlarger("status", settings=local)
            listed = enlarger("webhooks", "deliveries", "--undelivered", settings=local)
            status = 200
            replayed = enlarger("webhooks", "replay", "--batch", str(batch), settings=local)
            with ledger.begin() as session:
                delivery_records.replay(session, Choice())
            eventually(lambda: states(ledger) == {"delivered"})
            process.send_signal(signal.SIGTERM)
            code = process.wait(20)
        tested = enlarger(
            "webhooks", "test", server.url, "--subscription", added.json()["subscription"],
            settings=local,
        )  # fmt: skip

    sample = server.received[-1]
    Webhook(added.json()["secret"]).verify(sample.body, sample.headers)
    assert sample.json()["type"] == "webhook.test"
    assert (code, tested.code, replayed.out) == (0, 0, "0\n")  # none was dead
    assert tested.out.startswith("200 after ")
    assert "2 to be sent" in shown.err
    assert "0.0%" in shown.out
    assert "404 said the consumer" in listed.out


def tries(ledger: Ledger) -> list[int]:
    with ledger.begin() as session:
        return [each.failures for each in delivery_records.listed(session, Choice(), limit=10)]


def states(ledger: Ledger) -> set[str]:
    with ledger.begin() as session:
        return {str(each.state) for each in delivery_records.listed(session, Choice(), limit=10)}


def test_what_may_not_be_reached_is_refused_when_it_is_added(local: Settings) -> None:
    closed = local.model_copy(update={"webhook_allow": ()})

    answer = enlarger("webhooks", "add", "http://127.0.0.1:9/hook", settings=closed)

    assert answer.code == 1
    assert "not a public address" in answer.err
    assert "ENLARGER_WEBHOOK_ALLOW" in answer.err


def test_a_sender_that_is_killed_in_the_middle_of_a_request_loses_nothing(
    ledger: Ledger, local: Settings
) -> None:
    batch = make_batch(ledger, 1)
    ailing = True

    def answer(request: Request, faulty: Faulty) -> None:
        if ailing:
            faulty.ending.wait(20)
        else:
            request.answer(200)

    slow = local.model_copy(update={"webhook_timeout_s": 0.6})  # ten times that is its lease
    with consumer(answer) as server:
        with ledger.begin() as session:
            subscribe(session, url=server.url, batch_id=batch, events=["job.succeeded"])
        end(ledger, batch)
        with sender(slow) as process:
            eventually(lambda: server.received)
            process.kill()
            process.wait(20)
        left = states(ledger)
        ailing = False
        with sender(slow):
            eventually(lambda: states(ledger) == {"delivered"}, within_s=40)

    assert left == {"sending"}
    assert len(server.received) == 2
    assert len(set(server.ids)) == len({each.body for each in server.received}) == 1
    assert tries(ledger) == [0]
