import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from scheduler.errors import TriggerInvalid
from scheduler.ingest import Reader
from scheduler.ledger import batches
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage
from scheduler.triggers import backfill, intake, rules
from scheduler.triggers.arrival import Arrival
from tests.scheduler.triggers.rules import jobs_of, save_rule

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


@pytest.fixture
def settings(settings: Settings, s3_url: str) -> Settings:
    more = {"s3_endpoint_url": s3_url, "s3_region": "us-east-1", "ingest_rows": 3}
    return settings.model_copy(update=more)


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return open_storage(settings)


def put(s3_client: "S3Client", bucket: str, key: str) -> Arrival:
    """Upload an object and return what its event would tell."""
    reply = s3_client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    return Arrival(
        bucket=bucket,
        key=key,
        version=reply.get("VersionId"),
        etag=reply["ETag"].strip('"'),
        size=len(key),
        at=datetime.now(UTC),
    )


def read_all(ledger: Ledger, storage: Storage, settings: Settings) -> None:
    reader = Reader(ledger, storage, settings, read=lambda: None)
    while reader.step():
        pass


def receive(ledger: Ledger, *arrivals: Arrival) -> int:
    with ledger.begin() as session:
        return intake.receive(session, arrivals)


@pytest.mark.parametrize("versioned", [False, True])
def test_a_backfill_and_events_share_the_objects_between_them(
    ledger: Ledger, settings: Settings, storage: Storage, s3_client: "S3Client", bucket: str,
    *, versioned: bool,
) -> None:  # fmt: skip
    if versioned:
        s3_client.put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
        )
    save_rule(ledger, bucket=bucket, to=f"s3://{bucket}/out/{{dir}}/{{stem}}")
    for key in ("in/notes.txt", "in/folder/", "elsewhere/x.jpg", "in/deleted.jpg"):
        put(s3_client, bucket, key)
    s3_client.delete_object(Bucket=bucket, Key="in/deleted.jpg")
    put(s3_client, bucket, "in/ü 0.jpg")
    arrivals = [put(s3_client, bucket, f"in/ü {n}.jpg") for n in range(8)]
    assert receive(ledger, *arrivals[:3]) == 3

    batch, new = backfill.start(ledger, storage, "photos")
    read_all(ledger, storage, settings)

    assert new
    assert receive(ledger, *arrivals) == 0  # late messages of what the backfill took
    assert sorted(job.source for job in jobs_of(ledger)) == [each.address for each in arrivals]
    with ledger.begin() as session:
        progress = batches.progress(session, batch)
    assert (progress.total, progress.skipped, progress.state) == (5, 3, "open")
    again, new = backfill.start(ledger, storage, "photos")
    read_all(ledger, storage, settings)
    assert (new, again != batch) == (True, True)
    assert len(jobs_of(ledger)) == 8


def test_a_backfill_goes_on_from_its_cursor_and_by_the_rule_as_it_was(
    ledger: Ledger, settings: Settings, storage: Storage, s3_client: "S3Client", bucket: str
) -> None:
    save_rule(ledger, bucket=bucket, to=f"s3://{bucket}/out/{{stem}}-{{date}}")
    for n in range(110):
        put(s3_client, bucket, f"in/{n:03}.jpg")
    batch, _ = backfill.start(ledger, storage, "photos")
    Reader(ledger, storage, settings, read=lambda: None).step()  # and is killed
    changed = rules.parse_rule(
        {"name": "photos", "bucket": bucket, "prefix": "new/", "to": f"s3://{bucket}/else/"}
    )
    rules.save(ledger, storage, changed, replace=True)

    assert backfill.start(ledger, storage, "photos") == (batch, False)
    read_all(ledger, storage, settings)

    jobs = jobs_of(ledger)
    assert [job.source for job in jobs] == [f"s3://{bucket}/in/{n:03}.jpg" for n in range(110)]
    assert {job.batch_id for job in jobs} == {batch}
    assert all(job.destination.startswith(f"s3://{bucket}/out/") for job in jobs)


def test_events_that_come_while_a_chunk_is_read_are_not_doubled(
    ledger: Ledger, settings: Settings, storage: Storage, s3_client: "S3Client", bucket: str
) -> None:
    save_rule(ledger, bucket=bucket, to=f"s3://{bucket}/out/")
    arrivals = [put(s3_client, bucket, f"in/{n:02}.jpg") for n in range(40)]
    backfill.start(ledger, storage, "photos")

    threads = [
        threading.Thread(target=receive, args=(ledger, *some))
        for some in (arrivals[::-1], arrivals, arrivals[20:])
    ]
    for thread in threads:
        thread.start()
    read_all(ledger, storage, settings)
    for thread in threads:
        thread.join()

    assert sorted(job.source for job in jobs_of(ledger)) == [each.address for each in arrivals]


def test_a_removed_rule_is_read_no_further(
    ledger: Ledger, settings: Settings, storage: Storage, s3_client: "S3Client", bucket: str
) -> None:
    save_rule(ledger, bucket=bucket, to=f"s3://{bucket}/out/")
    put(s3_client, bucket, "in/a.jpg")
    batch, _ = backfill.start(ledger, storage, "photos")

    rules.remove(ledger, "photos")
    read_all(ledger, storage, settings)

    assert jobs_of(ledger) == []
    with ledger.begin() as session:
        found = batches.get(session, UUID(str(batch)))
    assert (found.state, found.reason) == ("unreadable", "source: its rule 'photos' was removed")


def test_a_rule_for_a_bucket_that_is_not_there_is_refused(
    ledger: Ledger, storage: Storage, bucket: str
) -> None:
    rule = rules.parse_rule({"name": "a", "bucket": f"{bucket}-x", "to": f"s3://{bucket}/out/"})

    with pytest.raises(TriggerInvalid, match="there is no bucket"):
        rules.save(ledger, storage, rule, replace=False)
