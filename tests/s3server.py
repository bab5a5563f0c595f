"""A real S3 server over HTTP, started once per test process, and a fresh bucket for each test."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import boto3
import pytest

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

PROGRAM = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print("http://%s:%d" % server.get_host_and_port(), flush=True)
sys.stdin.read()
"""
"""Ends with its parent: standard input then ends, even after `kill -9`."""


@contextmanager
def s3_server() -> Iterator[str]:
    """Run moto's server on a free port of the loopback and yield its URL."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, "moto's server did not start; its error is above"
        yield url
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """The endpoint of a real S3 server; any credentials will do."""
    with s3_server() as url:
        yield url


@pytest.fixture
def s3_client(s3_url: str) -> "Iterator[S3Client]":
    """A plain boto3 client of that server, to arrange and to look."""
    client = boto3.client("s3", endpoint_url=s3_url, region_name="us-east-1")
    yield client
    client.close()


@pytest.fixture
def bucket(s3_client: "S3Client") -> str:
    """The name of an empty bucket of the test's own."""
    name = f"test-{uuid.uuid4().hex}"
    s3_client.create_bucket(Bucket=name)
    return name
