"""Listings of S3 buckets, page by page.

Each page is asked for by the last key of the one before: continuation tokens expire while a reader
pauses, and a key does not.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from scheduler.errors import StorageRefused
from scheduler.storage.address import Address
from scheduler.storage.objects import ObjectInfo
from scheduler.storage.s3_errors import s3_errors

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import (
        ListObjectsV2RequestTypeDef,
        ListObjectVersionsRequestTypeDef,
    )


def objects(client: "S3Client", prefix: Address, last: str, *, pays: bool) -> Iterator[ObjectInfo]:
    """Describe the objects below a prefix whose keys come behind `last`."""
    more = True
    while more:
        request: ListObjectsV2RequestTypeDef = {"Bucket": prefix.bucket, "Prefix": prefix.key}
        if last:
            request["StartAfter"] = last
        if pays:
            request["RequestPayer"] = "requester"
        with s3_errors(prefix):
            page = client.list_objects_v2(**request)
        entries = page.get("Contents", [])
        more = page.get("IsTruncated", False)
        if (entries and entries[0]["Key"] <= last) or (more and not entries):
            reason = f"{prefix}: this server can't continue a listing behind a key (StartAfter)"
            raise StorageRefused(reason)
        for entry in entries:
            last = entry["Key"]
            yield ObjectInfo(
                address=str(Address(scheme="s3", bucket=prefix.bucket, key=last)),
                size=entry["Size"],
                etag=entry["ETag"].strip('"'),
                modified=entry["LastModified"],
            )


def newest_versions(
    client: "S3Client", prefix: Address, last: str, *, pays: bool
) -> Iterator[ObjectInfo]:
    """Describe the newest version of each of these objects, with its id.

    It takes another permission than `objects` (s3:ListBucketVersions), and works as well where the
    bucket keeps no versions. What was deleted is not there.
    """
    marker = (last, "")
    while True:
        request: ListObjectVersionsRequestTypeDef = {"Bucket": prefix.bucket, "Prefix": prefix.key}
        if marker[0]:
            request["KeyMarker"] = marker[0]
        if marker[1]:
            request["VersionIdMarker"] = marker[1]
        if pays:
            request["RequestPayer"] = "requester"
        with s3_errors(prefix):
            page = client.list_object_versions(**request)
        for entry in page.get("Versions", []):
            if entry["IsLatest"] and entry["Key"] > last:
                last = entry["Key"]
                yield ObjectInfo(
                    address=str(Address(scheme="s3", bucket=prefix.bucket, key=last)),
                    size=entry["Size"],
                    etag=entry["ETag"].strip('"'),
                    modified=entry["LastModified"],
                    version=kept_version(entry.get("VersionId")),
                )
        if not page.get("IsTruncated", False):
            return
        before, marker = marker, (page["NextKeyMarker"], page.get("NextVersionIdMarker", ""))
        if marker == before:
            raise StorageRefused(f"{prefix}: this server can't continue a listing of versions")


def kept_version(version: str | None) -> str | None:
    """Drop what a bucket that keeps no versions answers."""
    return None if version in (None, "", "null") else version
