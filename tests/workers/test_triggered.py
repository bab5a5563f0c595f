"""Results never set a trigger off, however they come into its bucket."""

import json
from typing import TYPE_CHECKING, Any
from uuid import UUID

from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from tests.factories import make_batch, make_row
from tests.workers.real import PHOTO, real_rig
from tests.workers.rig import rows

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

TRIGGERED = json.dumps({"trigger": "0193"})


def s3_batch(ledger: Ledger, bucket: str, *names: str, options: str, **row: Any) -> UUID:
    made = [
        make_row(
            line,
            source=f"s3://{bucket}/{name}",
            destination=f"s3://{bucket}/from-{name}.{row.get('suffix', 'png')}",
            arguments=json.dumps({"scale": 2, "output_format": row.get("suffix", "png")}),
        )
        for line, name in enumerate(names, start=1)
    ]
    return make_batch(ledger, made, options=options, destination=f"s3://{bucket}/")


def test_a_trigger_enlarges_pictures_and_never_results(
    ledger: Ledger, settings: Settings, s3_url: str, s3_client: "S3Client", bucket: str
) -> None:
    settings = settings.model_copy(update={"s3_endpoint_url": s3_url, "s3_region": "us-east-1"})
    s3_client.put_object(Bucket=bucket, Key="photo", Body=PHOTO)
    with real_rig(ledger, settings) as it:
        for suffix in ("png", "jpg"):
            made = s3_batch(ledger, bucket, "photo", options=TRIGGERED, suffix=suffix)
            it.run(it.queue(made))
            assert [row.state for row in rows(ledger, made)] == [JobState.SUCCEEDED]
        # One comes by a copy within the store, the others by way of somebody's disk.
        s3_client.copy_object(
            Bucket=bucket, Key="copied", CopySource={"Bucket": bucket, "Key": "from-photo.png"}
        )
        for suffix in ("png", "jpg"):
            found = s3_client.get_object(Bucket=bucket, Key=f"from-photo.{suffix}")["Body"].read()
            s3_client.put_object(Bucket=bucket, Key=f"uploaded-{suffix}", Body=found)
        names = ("copied", "uploaded-png", "uploaded-jpg")

        refused = s3_batch(ledger, bucket, *names, options=TRIGGERED)
        it.run(it.queue(refused))
        submitted = s3_batch(ledger, bucket, *names, options="{}")
        it.run(it.queue(submitted))

    for row in rows(ledger, refused):
        assert row.state == JobState.FAILED
        assert row.error is not None
        assert row.error["code"] == "result_as_source"
        assert "is itself a result, of the job" in row.error["message"]
    assert [row.state for row in rows(ledger, submitted)] == [JobState.SUCCEEDED] * 3
