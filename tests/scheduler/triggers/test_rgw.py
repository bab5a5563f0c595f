"""Ceph's own documents, sent by Ceph: how it spells keys, versions and metadata."""

import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import boto3
import pytest
from pydantic import SecretStr

from scheduler.errors import EventRefused
from scheduler.ingest import Reader
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from scheduler.storage import open_storage
from scheduler.triggers import backfill
from scheduler.triggers.receiver import Receiver
from tests.rgw import Gateway, rgw  # noqa: F401 - a fixture
from tests.scheduler.triggers.rules import jobs_of, save_rule

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

TOKEN = "the-token-of-the-topic"
KEYS = ["plain.jpg", "ü a+b.jpg", "100%25 of it.jpg", "a//b/../c.jpg", "日本/語.jpg", "&<>'\".jpg"]


@pytest.fixture
def settings(
    settings: Settings,
    rgw: Gateway,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Settings:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rgw.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", rgw.secret_key)
    more = {"s3_endpoint_url": rgw.url, "s3_region": "us-east-1", "event_token": SecretStr(TOKEN)}
    return settings.model_copy(update=more)


@contextmanager
def listening(receiver: Receiver) -> Iterator[str]:
    """Serve a receiver; yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            try:
                receiver.receive(headers, body)
            except EventRefused:
                self.send_response(401)
            else:
                self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/events/s3"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def tell(settings: Settings, s3: "S3Client", bucket: str, address: str) -> None:
    """Have a bucket's events sent to an address."""
    sns = boto3.session.Session().client(
        "sns", endpoint_url=settings.s3_endpoint_url, region_name="default"
    )
    attributes = {"push-endpoint": address, "OpaqueData": TOKEN}
    topic = sns.create_topic(Name=bucket, Attributes=attributes)["TopicArn"]
    s3.put_bucket_notification_configuration(
        Bucket=bucket,
        NotificationConfiguration={
            "TopicConfigurations": [
                {"Id": "enlarger", "TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}
            ]
        },
    )
    sns.close()


@pytest.mark.parametrize("versioned", [False, True])
def test_what_ceph_tells_and_what_it_lists_are_the_same_objects(
    ledger: Ledger, settings: Settings, *, versioned: bool
) -> None:
    # A session of its own: the default one remembers other credentials.
    s3 = boto3.session.Session().client(
        "s3", endpoint_url=settings.s3_endpoint_url, region_name="us-east-1"
    )
    bucket = f"test-{uuid.uuid4().hex}"
    s3.create_bucket(Bucket=bucket)
    if versioned:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    save_rule(ledger, bucket=bucket, to=f"s3://{bucket}/out/{{stem}}-{{version}}")
    s3.put_object(Bucket=bucket, Key="in/before.jpg", Body=b"picture")
    storage = open_storage(settings)

    with listening(Receiver(ledger, settings, lambda url: b"")) as address:
        tell(settings, s3, bucket, address)
        for key in KEYS:
            s3.put_object(Bucket=bucket, Key=f"in/{key}", Body=key.encode())
        s3.put_object(
            Bucket=bucket, Key="in/result.jpg", Body=b"x", Metadata={"enlarger-job": "0193"}
        )
        s3.delete_object(Bucket=bucket, Key="in/plain.jpg")
    told = jobs_of(ledger)
    backfill.start(ledger, storage, "photos")
    reader = Reader(ledger, storage, settings, read=lambda: None)
    while reader.step():
        pass

    assert sorted(job.source for job in told) == sorted(f"s3://{bucket}/in/{key}" for key in KEYS)
    assert all((job.source_version is not None) == versioned for job in told)
    assert TOKEN not in json.dumps([job.passthrough for job in told])
    ids = {job.id for job in told}
    listed = {job.source.rpartition("/")[2] for job in jobs_of(ledger) if job.id not in ids}
    # A listing knows no metadata: it is the worker that refuses the result.
    assert listed == {"before.jpg", "result.jpg"}
    s3.close()
