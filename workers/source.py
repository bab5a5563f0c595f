"""Fetches a job's input: only from places that a batch may name, and never more than the limit."""

from dataclasses import dataclass

from models.errors import RequestError
from scheduler.ledger.jobs import Claimed
from scheduler.storage import Storage

FIELD = "image_url"
"""What an input that can't be read is the fault of."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """A job's input as it was read.

    Attributes:
        data: The file's bytes.
        etag: Of the very bytes that were read.
    """

    data: bytes
    etag: str


def fetch(storage: Storage, job: Claimed, *, max_bytes: int) -> Input:
    """Read a job's source, in the version that the batch named if it named one.

    Raises:
        RequestError: It is missing, too large, not to be read, or no `s3://` or `file://` address.
        StorageUnavailable: The store does not answer.
    """
    try:
        blob = storage.read(job.source, max_bytes=max_bytes, version=job.source_version)
    except RequestError as exc:
        # The store knows addresses; only here it is known what this one stands for.
        raise type(exc)(f"{FIELD}: {exc}", field=FIELD) from exc
    return Input(data=blob.data, etag=blob.etag)
