"""Fetches a job's inputs: only from places that a batch may name, and never more than the limit."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.errors import ArgumentInvalid, EnlargerError, RequestError
from models.schema import UpscaleRequest, named_files, weights_fields
from scheduler.errors import (
    ObjectChanged,
    ObjectMissing,
    ObjectTooLarge,
    ResultAsSource,
    StorageUnavailable,
)
from scheduler.ledger.jobs import Claimed
from scheduler.settings import MEBIBYTE
from scheduler.storage import Storage
from scheduler.storage.objects import Blob
from workers.larder import Larder, Wish
from workers.life import Life
from workers.provenance import METADATA_PREFIX, read_provenance

FIELD = "image_url"
"""What an input that can't be read is the fault of."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """A job's input as it was read.

    Attributes:
        address: Where it was found.
        data: The file's bytes.
        etag: Of the very bytes that were read.
        metadata: What was stored beside them.
    """

    address: str
    data: bytes
    etag: str
    metadata: Mapping[str, str]


def fetch(storage: Storage, job: Claimed, *, max_bytes: int) -> Input:
    """Read a job's source, in the version that the batch named if it named one.

    If it named none, every attempt reads what the first one did, or fails.

    Raises:
        ObjectChanged: An earlier attempt read other bytes there.
        RequestError: It is missing, too large, not to be read, or no `s3://` or `file://` address.
        StorageUnavailable: The store does not answer.
    """
    try:
        address, blob = _read(storage, job, max_bytes)
    except (RequestError, StorageUnavailable) as exc:
        raise _of_field(exc, FIELD) from exc
    return Input(address=address, data=blob.data, etag=blob.etag, metadata=blob.metadata)


def etag_to_hold(job: Claimed, found: Input) -> str | None:
    """Return the ETag that later attempts are to find.

    None where the row names a version, which is a better word, and where the result may take its
    source's place: then it is an earlier attempt that changed it.
    """
    free = job.source_version is not None or job.options.get("in_place")
    return None if free else found.etag or None


def refuse_result(job: Claimed, found: Input) -> None:
    """Refuse to enlarge a result because it came into a bucket that a trigger watches.

    However it got there, the next result might take the same way: round and round. A batch that
    somebody submits may have results as its sources.

    Raises:
        ResultAsSource: The object's metadata, or the file itself, says that it is a result.
        ImageUnreadable: The file is no image, or a damaged one.
    """
    if "trigger" not in job.options:
        return
    mark = f"{METADATA_PREFIX}job"
    made_by = found.metadata.get(mark) or read_provenance(found.data).get("job")
    if made_by:
        reason = (
            f"{FIELD}: {job.source} is itself a result, of the job {made_by}, and triggers enlarge "
            "no results; to enlarge it once more, `enlarger submit` it"
        )
        raise ResultAsSource(reason, field=FIELD)


def others(request: UpscaleRequest) -> dict[str, str]:
    """Return the addresses of a request's files beside the picture, by the names of their fields.

    Those that are empty are left out.
    """
    return {name: address for name, address in named_files(request).items() if name != FIELD}


def fetch_others(
    storage: Storage, addresses: Mapping[str, str], folder: Path, *, max_bytes: int
) -> dict[str, Path]:
    """Copy files into a folder, and return where each is.

    Args:
        storage: Reads from `s3://`, `file://` and, through the guard, `http(s)://`.
        addresses: By field.
        folder: Empty, and of this job alone.
        max_bytes: Refuse a file with more.

    Raises:
        RequestError: One is missing, too large or not to be read; the error names its field.
        StorageUnavailable: A store does not answer.
    """
    found = {}
    for field, address in addresses.items():
        path = folder / field
        try:
            _copy(storage, address, path, max_bytes)
        except (RequestError, StorageUnavailable) as exc:
            raise _of_field(exc, field) from exc
        found[field] = path
    return found


def weights_among(request: UpscaleRequest, addresses: Mapping[str, str]) -> dict[str, Wish]:
    """Return which of a request's files hold weights, by field."""
    most = weights_fields(type(request))
    return {
        field: Wish(field=field, address=address, max_bytes=most[field])
        for field, address in addresses.items()
        if field in most
    }


def fetch_weights(larder: Larder, wish: Wish, life: Life) -> Path:
    """Have a file of weights here until a job's life ends; raises like `fetch_others`."""
    try:
        return larder.take(wish, life.held, life.check_cancelled)
    except ArgumentInvalid:
        raise
    except (RequestError, StorageUnavailable) as exc:
        raise _of_field(exc, wish.field) from exc


def _copy(storage: Storage, address: str, path: Path, max_bytes: int) -> None:
    with storage.open(address) as body, path.open("xb") as file:
        left = max_bytes
        while block := body.read(MEBIBYTE):
            left -= len(block)
            if left < 0:
                raise ObjectTooLarge(f"{address}: has more than {max_bytes:,} bytes, the limit")
            file.write(block)


def _of_field(exc: EnlargerError, field: str) -> EnlargerError:
    """Return a store's error as the field's: only here it is known what an address stands for."""
    return type(exc)(f"{field}: {exc}", field=field)


def _read(storage: Storage, job: Claimed, max_bytes: int) -> tuple[str, Blob]:
    """Read the source; where its manifest left its name in doubt, the other reading is tried."""
    read = partial(
        storage.read, max_bytes=max_bytes, version=job.source_version, etag=job.source_etag
    )
    try:
        return job.source, read(job.source)
    except ObjectChanged as exc:
        if job.source_etag is None:
            raise
        reason = (
            f"{job.source} is no longer what an earlier attempt read; to have it read as it is by "
            "now: enlarger retry"
        )
        raise ObjectChanged(reason) from exc
    except ObjectMissing as missing:
        other = job.source_alternative
        if other is None:
            raise
        try:
            return other, read(other)
        except ObjectMissing as exc:
            reason = f"{missing}; nor under its other reading {other}"
            raise ObjectMissing(reason) from exc
