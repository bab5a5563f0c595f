"""Writes to S3 that are verified before they count.

With checksums ("when_supported") every body carries its CRC-32, which the store checks on arrival
and returns. Without ("when_required") it carries its MD5, and the ETag answers. A store that
returns neither is read back, and only such a store.
"""

import base64
import hashlib
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from models.errors import EnlargerError
from scheduler.errors import ObjectChanged, StorageUnavailable
from scheduler.storage.address import Address
from scheduler.storage.objects import Stored, checksum_text
from scheduler.storage.s3_errors import already_there, s3_errors, status_of

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import (
        CompletedPartTypeDef,
        CompleteMultipartUploadRequestTypeDef,
        CopyObjectRequestTypeDef,
        CreateMultipartUploadRequestTypeDef,
        PutObjectRequestTypeDef,
        UploadPartRequestTypeDef,
    )

    from scheduler.settings import Settings

BLOCK = 2**20


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One object on its way to S3.

    Attributes:
        client: The connection.
        settings: Encryption, checksums, who pays.
        place: Where it goes.
        content_type: Its media type.
        metadata: As S3 takes it.
        only_if_absent: Fail if something is there.
    """

    client: "S3Client"
    settings: "Settings"
    place: Address
    content_type: str
    metadata: Mapping[str, str]
    only_if_absent: bool

    def whole(self, data: bytes) -> Stored:
        """Store an object in one request."""
        request: PutObjectRequestTypeDef = {
            "Bucket": self.place.bucket,
            "Key": self.place.key,
            "Body": data,
            "ContentType": self.content_type,
            "Metadata": self.metadata,
        }
        if self.settings.s3_checksums == "when_supported":
            request["ChecksumCRC32"] = _crc_header(data)
        else:
            request["ContentMD5"] = _md5_header(data)
        if self.settings.s3_sse:
            request["ServerSideEncryption"] = self.settings.s3_sse
        if self.settings.s3_sse_kms_key_id:
            request["SSEKMSKeyId"] = self.settings.s3_sse_kms_key_id
        if self.settings.s3_requester_pays:
            request["RequestPayer"] = "requester"
        if self.only_if_absent:
            request["IfNoneMatch"] = "*"
        with s3_errors(self.place):
            try:
                reply = self.client.put_object(**request)
            except ClientError as exc:
                self._refuse_taken(exc)
                raise
        crc = zlib.crc32(data)
        if not self._proven(reply.get("ChecksumCRC32"), reply.get("ETag", ""), data):
            self._read_back(crc)
        return Stored(
            etag=reply.get("ETag", "").strip('"'), checksum=checksum_text(crc), size=len(data)
        )

    def copied(self, source: Address, known: Stored) -> Stored:
        """Store what another object holds.

        Raises:
            ObjectChanged: It is no longer the one that is known; what was stored is not it either.
        """
        request: CopyObjectRequestTypeDef = {
            "Bucket": self.place.bucket,
            "Key": self.place.key,
            "CopySource": {"Bucket": source.bucket, "Key": source.key},
            "CopySourceIfMatch": f'"{known.etag}"',
            "ContentType": self.content_type,
            "Metadata": self.metadata,
            "MetadataDirective": "REPLACE",
        }
        if self.settings.s3_checksums == "when_supported":
            request["ChecksumAlgorithm"] = "CRC32"
        if self.settings.s3_sse:
            request["ServerSideEncryption"] = self.settings.s3_sse
        if self.settings.s3_sse_kms_key_id:
            request["SSEKMSKeyId"] = self.settings.s3_sse_kms_key_id
        if self.settings.s3_requester_pays:
            request["RequestPayer"] = "requester"
        with s3_errors(source):
            answer = self.client.copy_object(**request)["CopyObjectResult"]
        etag = answer.get("ETag", "").strip('"')
        if not self._is_copy(answer.get("ChecksumCRC32"), etag, known):
            raise ObjectChanged(f"{source}: holds other bytes than were once stored there")
        return Stored(etag=etag, checksum=known.checksum, size=known.size)

    def _is_copy(self, crc: str | None, etag: str, known: Stored) -> bool:
        """Compare checksums; where the store names none, ETags; where these differ, the bytes.

        An ETag is another for the same bytes where one of both was stored in parts or encrypted.
        """
        if crc is not None:
            return checksum_text(int.from_bytes(base64.b64decode(crc), "big")) == known.checksum
        return etag == known.etag or checksum_text(self._stored_crc()) == known.checksum

    def in_parts(self, parts: Iterator[bytes]) -> Stored:
        """Store an object in several requests; nothing is visible before the last."""
        upload_id = self._begin()
        try:
            return self._finish(upload_id, parts)
        except BaseException:
            # Unfinished parts are invisible, and paid for until somebody removes them.
            with suppress(EnlargerError), s3_errors(self.place):
                self.client.abort_multipart_upload(
                    Bucket=self.place.bucket, Key=self.place.key, UploadId=upload_id
                )
            raise

    def _begin(self) -> str:
        request: CreateMultipartUploadRequestTypeDef = {
            "Bucket": self.place.bucket,
            "Key": self.place.key,
            "ContentType": self.content_type,
            "Metadata": self.metadata,
        }
        if self.settings.s3_checksums == "when_supported":
            request["ChecksumAlgorithm"] = "CRC32"
        if self.settings.s3_sse:
            request["ServerSideEncryption"] = self.settings.s3_sse
        if self.settings.s3_sse_kms_key_id:
            request["SSEKMSKeyId"] = self.settings.s3_sse_kms_key_id
        if self.settings.s3_requester_pays:
            request["RequestPayer"] = "requester"
        with s3_errors(self.place):
            return self.client.create_multipart_upload(**request)["UploadId"]

    def _finish(self, upload_id: str, parts: Iterator[bytes]) -> Stored:
        done: list[CompletedPartTypeDef] = []
        crc, size, proven = 0, 0, True
        for number, part in enumerate(parts, start=1):
            completed, part_proven = self._part(upload_id, number, part)
            done.append(completed)
            crc, size, proven = zlib.crc32(part, crc), size + len(part), proven and part_proven
        etag = self._complete(upload_id, done)
        if not proven:
            self._read_back(crc)
        return Stored(etag=etag, checksum=checksum_text(crc), size=size)

    def _part(
        self, upload_id: str, number: int, part: bytes
    ) -> tuple["CompletedPartTypeDef", bool]:
        request: UploadPartRequestTypeDef = {
            "Bucket": self.place.bucket,
            "Key": self.place.key,
            "UploadId": upload_id,
            "PartNumber": number,
            "Body": part,
        }
        if self.settings.s3_requester_pays:
            request["RequestPayer"] = "requester"
        if self.settings.s3_checksums == "when_supported":
            request["ChecksumCRC32"] = _crc_header(part)
        else:
            request["ContentMD5"] = _md5_header(part)
        with s3_errors(self.place):
            reply = self.client.upload_part(**request)
        completed: CompletedPartTypeDef = {"ETag": reply["ETag"], "PartNumber": number}
        returned = reply.get("ChecksumCRC32")
        if returned is not None:
            completed["ChecksumCRC32"] = returned
        return completed, self._proven(returned, reply["ETag"], part)

    def _complete(self, upload_id: str, parts: "list[CompletedPartTypeDef]") -> str:
        request: CompleteMultipartUploadRequestTypeDef = {
            "Bucket": self.place.bucket,
            "Key": self.place.key,
            "UploadId": upload_id,
            "MultipartUpload": {"Parts": parts},
        }
        if self.settings.s3_requester_pays:
            request["RequestPayer"] = "requester"
        if self.only_if_absent:
            request["IfNoneMatch"] = "*"
        with s3_errors(self.place):
            try:
                return self.client.complete_multipart_upload(**request)["ETag"].strip('"')
            except ClientError as exc:
                self._refuse_taken(exc)
                raise

    def _refuse_taken(self, exc: ClientError) -> None:
        if self.only_if_absent and status_of(exc) == 412:
            raise already_there(self.place) from exc

    def _proven(self, crc: str | None, etag: str, data: bytes) -> bool:
        """Whether the store's answer proves that it has these bytes.

        An ETag that differs proves nothing either way: under SSE-KMS, and on some servers always,
        it is no MD5.
        """
        if crc is None:
            return etag.strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()
        if crc != _crc_header(data):
            raise self._damaged()
        return True

    def _read_back(self, crc: int) -> None:
        if self._stored_crc() != crc:
            raise self._damaged()

    def _stored_crc(self) -> int:
        found = 0
        with s3_errors(self.place):
            if self.settings.s3_requester_pays:
                reply = self.client.get_object(
                    Bucket=self.place.bucket, Key=self.place.key, RequestPayer="requester"
                )
            else:
                reply = self.client.get_object(Bucket=self.place.bucket, Key=self.place.key)
            for block in reply["Body"].iter_chunks(BLOCK):
                found = zlib.crc32(block, found)
        return found

    def _damaged(self) -> StorageUnavailable:
        reason = f"{self.place}: the store holds other bytes than it was sent; they are sent again"
        return StorageUnavailable(reason)


def _crc_header(data: bytes) -> str:
    return base64.b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()


def _md5_header(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()
