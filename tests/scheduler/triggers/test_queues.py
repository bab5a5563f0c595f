import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from sqlalchemy import text

from scheduler.errors import LedgerUnavailable, QueueUnavailable, SettingsInvalid
from scheduler.ledger import triggers
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from scheduler.triggers import queues
from scheduler.triggers.queues import Poller
from tests.scheduler.command import surroundings
from tests.scheduler.triggers.rules import jobs_of, save_rule

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sqs import SQSClient

DOCUMENTS = Path(__file__).parents[2] / "data" / "events"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "POLL_S", 0)


@pytest.fixture
def sqs(s3_url: str) -> "Iterator[SQSClient]":
    client = boto3.client("sqs", endpoint_url=s3_url, region_name="us-east-1")
    yield client
    client.close()


@pytest.fixture
def queue(sqs: "SQSClient") -> str:
    """The address of an empty queue of the test's own."""
    return sqs.create_queue(QueueName=f"events-{uuid.uuid4().hex}")["QueueUrl"]


def left(sqs: "SQSClient", queue: str) -> tuple[int, int]:
    """Return how many messages are visible, and how many are hidden."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    return int(found[names[0]]), int(found[names[1]])


def event(key: str) -> str:
    loaded = json.loads((DOCUMENTS / "s3.json").read_text())
    loaded["Records"][0]["s3"]["object"]["key"] = key
    return json.dumps(loaded)


def send(sqs: "SQSClient", queue: str, *bodies: str) -> None:
    for body in bodies:
        sqs.send_message(QueueUrl=queue, MessageBody=body)


def drain(poller: Poller) -> None:
    while poller.step():
        pass


def test_an_upload_to_a_bucket_becomes_a_job(
    ledger: Ledger, settings: Settings, sqs: "SQSClient", queue: str, s3_client: "S3Client",
    bucket: str,
) -> None:  # fmt: skip
    save_rule(ledger, bucket=bucket, prefix="in/", to="s3://out/{dir}/{stem}")
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    s3_client.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": arn["QueueArn"], "Events": ["s3:ObjectCreated:*"]}]
        },
    )  # which also sends an s3:TestEvent
    for key in ("in/ü a+b%20.jpg", "in/notes.txt", "elsewhere/c.jpg"):
        s3_client.put_object(Bucket=bucket, Key=key, Body=b"picture")
    assert left(sqs, queue) == (4, 0)

    drain(Poller(ledger, settings, queue))

    (job,) = jobs_of(ledger)
    assert (job.source, job.destination) == (
        f"s3://{bucket}/in/ü a+b%20.jpg",
        "s3://out/ü a+b%20.png",
    )
    assert left(sqs, queue) == (0, 0)
    with ledger.begin() as session:
        assert triggers.dead(session, limit=9) == []


def test_poison_is_buried_with_the_reason_and_holds_up_nobody(
    ledger: Ledger, settings: Settings, sqs: "SQSClient", queue: str
) -> None:
    save_rule(ledger)
    send(sqs, queue, "not json", event("in/a.jpg"), '{"Records": "?"}', event("in/%00.jpg"))

    drain(Poller(ledger, settings, queue))

    assert [job.source for job in jobs_of(ledger)] == ["s3://photos/in/a.jpg"]
    assert left(sqs, queue) == (0, 0)
    with ledger.begin() as session:
        dead = triggers.dead(session, limit=9)
    assert sorted(each.reason[:12] for each in dead) == [
        "event: is no", "event: there", "key: 'in/\\x0",
    ]  # fmt: skip
    assert all(each.source.startswith(f"{queue}#") for each in dead)


def test_a_message_that_meets_a_bug_is_buried_alone(
    ledger: Ledger, settings: Settings, sqs: "SQSClient", queue: str
) -> None:
    save_rule(ledger)
    with ledger.begin() as session:
        session.execute(text("alter table jobs add check (source <> 's3://photos/in/bad.jpg')"))
    send(sqs, queue, event("in/a.jpg"), event("in/bad.jpg"), event("in/b.jpg"))

    drain(Poller(ledger, settings, queue))

    assert {job.source[15:] for job in jobs_of(ledger)} == {"a.jpg", "b.jpg"}
    with ledger.begin() as session:
        (dead,) = triggers.dead(session, limit=9)
    assert "please report it" in dead.reason
    assert "jobs_source_check" in dead.reason


def test_more_than_one_call_receives_share_a_transaction(
    ledger: Ledger, settings: Settings, sqs: "SQSClient", queue: str
) -> None:
    save_rule(ledger)
    send(sqs, queue, *(event(f"in/{n % 25}.jpg") for n in range(30)))

    drain(Poller(ledger, settings, queue))

    assert len(jobs_of(ledger)) == 25
    assert left(sqs, queue) == (0, 0)


def test_a_message_stays_hidden_for_as_long_as_it_is_being_handled(
    ledger: Ledger, settings: Settings, sqs: "SQSClient", queue: str
) -> None:
    save_rule(ledger)
    send(sqs, queue, event("in/a.jpg"))
    poller = Poller(ledger, settings, queue, visibility_s=1)
    with ledger.begin() as session:  # another transaction holds up the rules for 2.5 visibilities
        session.execute(text("lock table triggers in access exclusive mode"))
        thread = threading.Thread(target=poller.step)
        thread.start()
        seen = []
        for _ in range(5):
            time.sleep(0.5)
            seen.append(left(sqs, queue))
    thread.join(20)

    assert seen[1:] == [(0, 1)] * 4
    assert len(jobs_of(ledger)) == 1
    assert left(sqs, queue) == (0, 0)


def test_while_the_ledger_is_away_no_message_is_received(
    ledger: Ledger, settings: Settings, sqs: "SQSClient", queue: str
) -> None:
    send(sqs, queue, event("in/a.jpg"))
    nowhere = settings.model_copy(
        update={"database_url": type(settings.database_url)("postgresql://u:p@127.0.0.1:1/x")}
    )
    away = Ledger(nowhere)

    with pytest.raises(LedgerUnavailable):
        Poller(away, settings, queue).step()

    away.close()
    assert left(sqs, queue) == (1, 0)


def test_what_cannot_be_committed_is_shown_again_at_once(
    ledger: Ledger, settings: Settings, sqs: "SQSClient", queue: str
) -> None:
    save_rule(ledger)
    send(sqs, queue, event("in/a.jpg"))
    poller, failed = Poller(ledger, settings, queue), []

    def step() -> None:
        try:
            poller.step()
        except LedgerUnavailable as exc:
            failed.append(exc)

    with ledger.begin() as session:
        session.execute(text("lock table taken_objects in access exclusive mode"))
        thread = threading.Thread(target=step)
        thread.start()
        time.sleep(0.5)
        session.execute(
            text(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where wait_event_type = 'Lock' and datname = current_database()"
            )
        )
        thread.join(10)

    assert len(failed) == 1
    assert left(sqs, queue) == (1, 0)
    drain(poller)
    assert len(jobs_of(ledger)) == 1


KILLED = """
import os, sys
from scheduler import settings
from scheduler.ledger.session import Ledger
from scheduler.triggers.queues import Poller
loaded = settings.load()
poller = Poller(Ledger(loaded), loaded, sys.argv[1], visibility_s=1)
poller._delete = lambda messages: os.kill(os.getpid(), 9)
poller.step()
"""


def test_a_poller_that_is_killed_between_commit_and_deletion_doubles_nothing(
    ledger: Ledger, settings: Settings, sqs: "SQSClient", queue: str
) -> None:
    save_rule(ledger)
    send(sqs, queue, event("in/a.jpg"), event("in/b.jpg"))

    died = subprocess.run(
        [sys.executable, "-c", KILLED, queue], env=surroundings(settings), timeout=60, check=False
    )

    assert died.returncode == -9
    assert len(jobs_of(ledger)) == 2
    deadline = time.monotonic() + 20
    while left(sqs, queue) != (0, 0) and time.monotonic() < deadline:
        time.sleep(0.2)
        drain(Poller(ledger, settings, queue))
    assert left(sqs, queue) == (0, 0)
    assert len(jobs_of(ledger)) == 2


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-central-1.amazonaws.com/123456789012/photos", "eu-central-1"),
        ("https://sqs-fips.us-west-2.amazonaws.com/123456789012/photos", "us-west-2"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/123456789012/photos", "cn-north-1"),
        ("https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com/123456789012/photos", "eu-west-1"),
        ("http://localhost:9324/queue/photos", "us-east-1"),
    ],
)
def test_region_and_server_are_those_of_the_queues_address(
    ledger: Ledger, settings: Settings, url: str, region: str
) -> None:
    meta = Poller(ledger, settings, url)._client.meta

    assert meta.region_name == region
    assert url.startswith(f"{meta.endpoint_url}/")


@pytest.mark.parametrize("url", ["photos", "sqs://host/queue", "https://host/", "https:///queue"])
def test_what_is_no_address_of_a_queue_is_refused(
    ledger: Ledger, settings: Settings, url: str
) -> None:
    with pytest.raises(SettingsInvalid, match="one looks like https"):
        Poller(ledger, settings, url)


def test_a_queue_that_is_not_there_or_does_not_answer_says_what_to_do(
    ledger: Ledger, settings: Settings, queue: str
) -> None:
    quick = settings.model_copy(update={"storage_attempts": 1})

    with pytest.raises(QueueUnavailable, match="create the queue, or correct ENLARGER_EVENT"):
        Poller(ledger, quick, queue + "-gone").step()
    with pytest.raises(QueueUnavailable, match="does not answer"):
        Poller(ledger, quick, "http://127.0.0.1:1/123456789012/events").step()
