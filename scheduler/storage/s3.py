"""``s3://`` through boto3, for AWS and for servers that speak its protocol."""

import io
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from scheduler.errors import (
    ObjectMissing,
    ObjectTooLarge,
    SettingsInvalid,
    StorageRefused,
)
from scheduler.storage.address import Address
from scheduler.storage.objects import Blob, ObjectInfo, Stored
from scheduler.storage.s3_body import S3Body
from scheduler.storage.s3_errors import s3_errors, status_of
from scheduler.storage.s3_listing import kept_version, newest_versions, objects
from scheduler.storage.s3_metadata import decoded, encoded
from scheduler.storage.s3_write import Upload

if TYPE_CHECKING:
    from botocore.response import StreamingBody
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import (
        CreateBucketRequestTypeDef,
        GetObjectOutputTypeDef,
        GetObjectRequestTypeDef,
        HeadObjectRequestTypeDef,
    )

    from scheduler.settings import Settings

BLOCK = 2**20
PARTS = 10_000
"""S3's limit of parts in one upload."""
CONNECT_S = 10.0
"""Longest wait for a connection, where the wait for an answer may be longer."""
FIRST_REGION = "us-east-1"
SPARE_CONNECTIONS = 4
"""For manifests, checks and reports beside the fetching and storing threads."""


class S3Store:
    """The `Store` of S3 buckets; its client is shared by all threads."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self._client = _connect(settings, settings.s3_endpoint_url)

    def read(
        self, place: Address, *, max_bytes: int, version: str | None, etag: str | None
    ) -> Blob:
        """Return a whole object, in one request unless its connection breaks."""
        source = _Source(self, place, version=version, etag=etag)
        with S3Body(place, source.fetch, start=0, attempts=self._settings.storage_attempts) as body:
            if source.size > max_bytes:
                reason = f"{place}: {source.size} bytes are too many; the limit is {max_bytes}"
                raise ObjectTooLarge(reason)
            data = b"".join(iter(lambda: body.read(BLOCK), b""))
        return Blob(
            data=data,
            etag=source.etag or "",
            version=source.found_version,
            content_type=source.content_type,
            metadata=source.metadata,
        )

    def stat(self, place: Address, *, version: str | None) -> ObjectInfo:
        """Describe an object."""
        _refuse_folder(place)
        request: HeadObjectRequestTypeDef = {"Bucket": place.bucket, "Key": place.key}
        if version is not None:
            request["VersionId"] = version
        if self._settings.s3_requester_pays:
            request["RequestPayer"] = "requester"
        with s3_errors(place):
            reply = self._client.head_object(**request)
        if "ETag" not in reply or "LastModified" not in reply:
            reason = f"{place}: the answer is not S3's; check ENLARGER_S3_ENDPOINT_URL"
            raise StorageRefused(reason)
        return ObjectInfo(
            address=str(place),
            size=reply["ContentLength"],
            etag=reply["ETag"].strip('"'),
            modified=reply["LastModified"],
            version=kept_version(reply.get("VersionId")),
            content_type=reply.get("ContentType"),
            metadata=decoded(reply.get("Metadata", {})),
        )

    def open(
        self, place: Address, *, start: int, version: str | None, etag: str | None
    ) -> BinaryIO:
        """Return a buffered stream of an object's bytes."""
        source = _Source(self, place, version=version, etag=etag)
        body = S3Body(place, source.fetch, start=start, attempts=self._settings.storage_attempts)
        return io.BufferedReader(body, BLOCK)

    def write(
        self,
        place: Address,
        data: bytes,
        *,
        content_type: str,
        metadata: Mapping[str, str],
        only_if_absent: bool,
    ) -> Stored:
        """Store bytes, in parts above `s3_multipart_bytes`."""
        upload = self._upload(place, content_type, metadata, only_if_absent=only_if_absent)
        size = self._part_size(len(data))
        if len(data) <= size:
            return upload.whole(data)
        return upload.in_parts(data[at : at + size] for at in range(0, len(data), size))

    def write_file(
        self, place: Address, path: Path, *, content_type: str, metadata: Mapping[str, str]
    ) -> Stored:
        """Store a local file's bytes, one part of it in memory at a time."""
        upload = self._upload(place, content_type, metadata, only_if_absent=False)
        length = path.stat().st_size
        size = self._part_size(length)
        with path.open("rb") as file:
            if length <= size:
                return upload.whole(file.read())
            return upload.in_parts(iter(lambda: file.read(size), b""))

    def copy(
        self,
        source: Address,
        place: Address,
        *,
        known: Stored,
        content_type: str,
        metadata: Mapping[str, str],
    ) -> Stored:
        """Have S3 copy an object, in one request."""
        upload = self._upload(place, content_type, metadata, only_if_absent=False)
        return upload.copied(source, known)

    def list(
        self, prefix: Address, *, after: Address | None, versioned: bool
    ) -> Iterator[ObjectInfo]:
        """List a prefix; with the versions' ids, in constant memory just the same."""
        last = "" if after is None else after.key
        found = newest_versions if versioned else objects
        return found(self._client, prefix, last, pays=self._settings.s3_requester_pays)

    def delete(self, place: Address) -> None:
        """Remove an object; a bucket with versions keeps the old ones."""
        with s3_errors(place):
            if self._settings.s3_requester_pays:
                self._client.delete_object(
                    Bucket=place.bucket, Key=place.key, RequestPayer="requester"
                )
            else:
                self._client.delete_object(Bucket=place.bucket, Key=place.key)

    def make_bucket(self, place: Address) -> bool:
        """Make a bucket; False if it is there already."""
        with s3_errors(place):
            try:
                self._client.head_bucket(Bucket=place.bucket)
            except ClientError as exc:
                if status_of(exc) != 404:
                    raise
            else:
                return False
            return self._create(place.bucket)

    def _create(self, bucket: str) -> bool:
        """Make a bucket; AWS alone wants to hear where, if not in its first region."""
        region = self._client.meta.region_name
        request: CreateBucketRequestTypeDef = {"Bucket": bucket}
        if self._settings.s3_endpoint_url is None and region != FIRST_REGION:
            request["CreateBucketConfiguration"] = {"LocationConstraint": region}  # type: ignore[typeddict-item]
        try:
            self._client.create_bucket(**request)
        except self._client.exceptions.BucketAlreadyOwnedByYou:
            return False  # somebody else of ours was quicker
        return True

    def presigned(
        self, place: Address, *, content_type: str, disposition: str, lifetime_s: int
    ) -> str:
        """Return a URL that carries our credentials' leave to read one object; sends nothing."""
        return self._presigner.generate_presigned_url(
            "get_object",
            Params={
                "Bucket": place.bucket,
                "Key": place.key,
                "ResponseContentType": content_type,
                "ResponseContentDisposition": disposition,
            },
            ExpiresIn=lifetime_s,
        )

    @cached_property
    def _presigner(self) -> "S3Client":
        """A signature holds for one host only: that under which clients know the server.

        Some regions' default for presigned URLs is still version 2, which newer ones refuse.
        """
        url = self._settings.s3_public_url or self._settings.s3_endpoint_url
        return _connect(self._settings, url, signature="s3v4")

    def get(
        self, place: Address, *, start: int, version: str | None, etag: str | None
    ) -> "GetObjectOutputTypeDef | None":
        """Ask for an object's bytes from `start` on; None if it has no more."""
        _refuse_folder(place)
        request: GetObjectRequestTypeDef = {"Bucket": place.bucket, "Key": place.key}
        if version is not None:
            request["VersionId"] = version
        if etag is not None:
            request["IfMatch"] = f'"{etag}"'
        if start:
            request["Range"] = f"bytes={start}-"
        if self._settings.s3_requester_pays:
            request["RequestPayer"] = "requester"
        with s3_errors(place):
            try:
                reply = self._client.get_object(**request)
            except ClientError as exc:
                if status_of(exc) == 416:
                    return None
                raise
        if start and reply["ResponseMetadata"]["HTTPStatusCode"] != 206:
            reply["Body"].close()
            raise StorageRefused(f"{place}: this server can't read from a byte on (Range)")
        return reply

    def _upload(
        self,
        place: Address,
        content_type: str,
        metadata: Mapping[str, str],
        *,
        only_if_absent: bool,
    ) -> Upload:
        return Upload(
            client=self._client,
            settings=self._settings,
            place=place,
            content_type=content_type,
            metadata=encoded(metadata),
            only_if_absent=only_if_absent,
        )

    def _part_size(self, length: int) -> int:
        return max(self._settings.s3_multipart_bytes, -(-length // PARTS))


class _Source:
    """Opens one object again and again, and makes sure that it stays the same one."""

    def __init__(
        self, store: S3Store, place: Address, *, version: str | None, etag: str | None
    ) -> None:
        self._store = store
        self._place = place
        self._version = version
        self.etag = etag
        self.size = 0
        self.found_version: str | None = None
        self.content_type: str | None = None
        self.metadata: Mapping[str, str] = {}

    def fetch(self, start: int) -> "StreamingBody | None":
        """Open the object at a byte; what the first answer says holds for all later ones.

        Later ones are held to the ETag and not to the version id: reading by version id takes a
        permission of its own.
        """
        reply = self._store.get(self._place, start=start, version=self._version, etag=self.etag)
        if reply is None:
            return None
        self.etag = reply.get("ETag", "").strip('"') or None
        self.size = start + reply["ContentLength"]
        self.found_version = kept_version(reply.get("VersionId"))
        self.content_type = reply.get("ContentType")
        self.metadata = decoded(reply.get("Metadata", {}))
        return reply["Body"]


def _connect(
    settings: "Settings", endpoint_url: str | None, *, signature: str | None = None
) -> "S3Client":
    """Make a client; nothing is sent yet.

    Raises:
        SettingsInvalid: The endpoint is no URL.
    """
    config = Config(
        signature_version=signature,
        connect_timeout=min(settings.storage_timeout_s, CONNECT_S),
        read_timeout=settings.storage_timeout_s,
        retries={"mode": "adaptive", "total_max_attempts": settings.storage_attempts},
        max_pool_connections=settings.fetch_threads + settings.store_threads + SPARE_CONNECTIONS,
        request_checksum_calculation=settings.s3_checksums,
        response_checksum_validation=settings.s3_checksums,
        s3={"addressing_style": settings.s3_addressing_style},
        tcp_keepalive=True,
    )
    try:
        # A session of our own: boto3's default one is not safe to share between threads.
        return boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint_url,
            region_name=settings.s3_region,
            config=config,
        )
    except ValueError as exc:
        reason = f"s3_endpoint_url: {endpoint_url!r} is no URL; write http://host:port"
        raise SettingsInvalid(reason) from exc


def _refuse_folder(place: Address) -> None:
    if not place.key:
        raise ObjectMissing(f"{place}: this is a bucket, no object; add a key")
