"""A bucket that tells a queue of everything in it, results too, and a system that is struck."""

import random
import signal
from typing import TYPE_CHECKING

import boto3
import pytest
from sqlalchemy import text

from scheduler.triggers import rules
from tests.system.gateway import Gateway
from tests.system.paced import ENDPOINT
from tests.system.system import System, photo

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

pytestmark = pytest.mark.faults

EACH = 10
"""Uploads before each strike."""
HIDDEN_S = 60
"""For so long a queue hides what a killed poller had in hand."""


def test_every_upload_has_one_job_and_one_result_whatever_is_killed(
    system: System, store: Gateway, bucket: str, chance: random.Random, strikes: int
) -> None:
    s3 = system.use_store(store)
    sqs = boto3.client("sqs", endpoint_url=store.upstream, region_name="us-east-1")
    queue = sqs.create_queue(QueueName=bucket)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "QueueConfigurations": [{"QueueArn": arn["QueueArn"], "Events": ["s3:ObjectCreated:*"]}]
        },
    )
    system.adjust(event_queues=(queue,))
    fields = {"bucket": bucket, "prefix": "in/", "endpoint": ENDPOINT}
    rule = rules.parse_rule(fields | {"name": "watched", "to": f"s3://{bucket}/out/{{stem}}"})
    rules.save(system.ledger, system.storage, rule, replace=False)
    system.start_worker()
    names = {f"{number:03}" for number in range(EACH * strikes)}
    leader = system.start_scheduler()
    for round_ in range(strikes):
        for name in sorted(names)[EACH * round_ : EACH * round_ + EACH]:
            for _ in range(2):  # the same bytes again are the same object
                s3.put_object(Bucket=bucket, Key=f"in/{name}.png", Body=photo(int(name)))
        aim = EACH * round_ + chance.randrange(1, EACH)
        system.wait_for("jobs to end", lambda aim=aim: ended(system) >= aim)
        system.servers.flush_redis()
        leader.signal(signal.SIGKILL)
        leader.wait()
        leader = system.start_scheduler()

    system.wait_for("all jobs to end", lambda: ended(system) >= len(names), within_s=90)
    system.wait_for("the queue to be empty", lambda: is_empty(sqs, queue), within_s=HIDDEN_S + 30)

    with system.ledger.begin() as session:
        found = session.execute(text("select source, state, failures from jobs order by 1")).all()
    expected = [(f"s3://{bucket}/in/{name}.png", "succeeded", 0) for name in sorted(names)]
    assert [tuple(row) for row in found] == expected
    stored = s3.list_objects_v2(Bucket=bucket, Prefix="out/")["Contents"]
    assert {each["Key"] for each in stored} == {f"out/{name}.png" for name in names}
    sqs.close()


def ended(system: System) -> int:
    with system.ledger.begin(durable=False) as session:
        return session.execute(
            text("select count(*) from jobs where ended_at is not null")
        ).scalar_one()


def is_empty(sqs: "SQSClient", queue: str) -> bool:
    found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    states = ("", "NotVisible")
    return [found[f"ApproximateNumberOfMessages{state}"] for state in states] == ["0", "0"]
