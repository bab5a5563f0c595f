"""``/cdn``: bytes of files, in and out. Every address here carries its own secret.

Files on S3 are not passed through: whoever may read one is sent to a fresh presigned URL.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response

from scheduler.api import bodies
from scheduler.api.edge import visit_of
from scheduler.api.errors import CredentialsInvalid
from scheduler.api.keyring import Keyring, permitted
from scheduler.api.lifecycle import lifetime_s
from scheduler.api.places import Area
from scheduler.errors import AddressSecretWrong, FileMissing, ObjectMissing
from scheduler.files.names import disposition, served_type
from scheduler.files.published import Public
from scheduler.files.room import BLOCK, PART_BYTES, FileRoom, Part
from scheduler.ledger.files import HostedFile
from scheduler.ledger.keys import Scope
from scheduler.storage import Storage, parse_address

router = APIRouter(prefix="/cdn", tags=["files"])

FILE = "/files/{file_id}/{mark}/{name}"
RESULT = "/results/{job_id}/{index}/{mark}/{name}"
PRESIGNED_S = 300
UPLOAD_SETTING = "ENLARGER_MAX_UPLOAD_BYTES"
PART_SETTING = "the size of a part"
HARMLESS = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; sandbox",
    "cross-origin-resource-policy": "cross-origin",
    "cache-control": "private, max-age=300",
}
"""Whatever somebody uploaded, a browser that opens it runs nothing of it."""


class PartReply(BaseModel):
    """What a client lists in the end for a part that it has sent."""

    partNumber: int = Field(description="Counted from 1.")  # noqa: N815 - fal's spelling
    etag: str = Field(description="SHA-256 of the part's bytes.")


class Completion(BaseModel):
    """All parts of an upload, in any order."""

    parts: list[PartReply] = Field(max_length=10_000)


class Access(BaseModel):
    """Where a file can be read."""

    access_url: str


class MultipartPlace(Access):
    """Where parts of a file go: `{access_url}/multipart/{uploadId}/{n}`."""

    uploadId: str  # noqa: N815 - fal's spelling


SERVED: dict[int | str, dict[str, Any]] = {
    206: {"description": "A range of the file."},
    302: {"description": "The file is on S3; the address is good for some minutes."},
    416: {"description": "The file has no such range."},
}
RAW = bodies.described_as("application/octet-stream", {"type": "string", "format": "binary"})
LISTED = bodies.described(Completion)


async def uploader(request: Request) -> str:
    """Return whose files are uploaded: by a token of `/rest/storage/auth/token`, or by a key.

    Raises:
        CredentialsInvalid: There is neither, or the token's time is over.
        NotPermitted: The key is not for files.
    """
    authorization = request.headers.get("authorization", "")
    scheme, _, token = authorization.strip().partition(" ")
    if scheme.lower() == "bearer" and "." in token:
        room: FileRoom = request.app.state.room
        try:
            return room.signer.owner(token.strip(), now=datetime.now(UTC))
        except AddressSecretWrong as exc:
            raise CredentialsInvalid(f"authorization: {exc}", field="authorization") from exc
    keyring: Keyring = request.app.state.keyring
    return permitted(await keyring.caller(authorization), Scope.FILES).owner


Uploader = Annotated[str, Depends(uploader)]


@router.get(FILE, response_class=FileResponse, responses=SERVED)
@router.head(FILE, include_in_schema=False)
@router.get(RESULT, response_class=FileResponse, responses=SERVED)
@router.head(RESULT, include_in_schema=False)
def read_file(request: Request) -> Response:
    """Serve a file, whole or in ranges, or say where it is served."""
    found = request.app.state.publisher.find(request.scope["path"].removeprefix("/cdn"))
    return _served(request.app.state.storage, found, head=request.method == "HEAD")


def _served(storage: Storage, found: Public, *, head: bool) -> Response:
    media_type = served_type(found.content_type)
    headers = {**HARMLESS, "content-disposition": disposition(found.name, found.content_type)}
    if parse_address(found.address).scheme == "s3" and not head:
        url = storage.presigned(
            found.address,
            content_type=media_type,
            disposition=headers["content-disposition"],
            lifetime_s=PRESIGNED_S,
        )
        assert url is not None, "s3:// can presign"
        return RedirectResponse(url, 302, {"cache-control": "no-store"})
    try:
        size = storage.stat(found.address).size
    except ObjectMissing as exc:
        reason = "the file is not in the store any more"
        raise FileMissing(reason) from exc
    if head:  # a presigned URL is good for one method only
        length = {"content-length": str(size), "accept-ranges": "bytes"}
        return Response(headers=headers | length, media_type=media_type)
    return FileResponse(
        Path(parse_address(found.address).key), headers=headers, media_type=media_type
    )


@router.put("/uploads/{file_id}/{mark}", openapi_extra=RAW)
async def upload(request: Request, file_id: UUID, mark: str) -> Access:
    """Take a file's bytes, whole; needs no key, as the address carries a secret."""
    room: FileRoom = request.app.state.room
    file = await run_in_threadpool(room.writable, file_id, mark)
    return _access(request, await _receive(request, file))


@router.put("/uploads/{file_id}/{mark}/{number}", openapi_extra=RAW)
async def upload_part(request: Request, file_id: UUID, mark: str, number: int) -> JSONResponse:
    """Take one part of a file's bytes."""
    room: FileRoom = request.app.state.room
    file = await run_in_threadpool(room.writable, file_id, mark)
    return await _receive_part(request, file, number)


@router.post("/uploads/{file_id}/{mark}/complete", openapi_extra=LISTED)
async def complete_upload(request: Request, file_id: UUID, mark: str) -> Access:
    """Make a file of the parts that were sent."""
    room: FileRoom = request.app.state.room
    file = await run_in_threadpool(room.writable, file_id, mark)
    return _access(request, await _join(request, file))


@router.post("/files/upload", openapi_extra=RAW)
async def upload_by_token(request: Request, owner: Uploader) -> Access:
    """Take a new file in one request."""
    return _access(request, await _receive(request, await _announce(request, owner)))


@router.post("/files/upload/multipart")
async def begin_multipart(request: Request, owner: Uploader) -> MultipartPlace:
    """Make room for a new file that comes in parts."""
    file = await _announce(request, owner)
    mark = request.app.state.room.upload_mark(file.id)
    return MultipartPlace(access_url=_access(request, file).access_url, uploadId=mark)


@router.put(FILE + "/multipart/{upload}/{number}", openapi_extra=RAW)
async def multipart_part(
    request: Request, _owner: Uploader, file_id: UUID, upload: str, number: int
) -> JSONResponse:
    """Take one part of a file that was begun with a token."""
    room: FileRoom = request.app.state.room
    file = await run_in_threadpool(room.writable, file_id, upload)
    return await _receive_part(request, file, number)


@router.post(FILE + "/multipart/{upload}/complete", openapi_extra=LISTED)
async def complete_multipart(
    request: Request, _owner: Uploader, file_id: UUID, upload: str
) -> Access:
    """Make a file of the parts that were sent with a token."""
    room: FileRoom = request.app.state.room
    file = await run_in_threadpool(room.writable, file_id, upload)
    return _access(request, await _join(request, file))


async def _announce(request: Request, owner: str) -> HostedFile:
    room: FileRoom = request.app.state.room
    return await run_in_threadpool(
        room.announce,
        owner=owner,
        name=request.headers.get("x-fal-file-name", ""),
        content_type=request.headers.get("content-type"),
        lifetime_s=lifetime_s(request.headers),
    )


async def _receive(request: Request, file: HostedFile) -> HostedFile:
    """Write the body to the local disk as it comes, and store it when it is all there."""
    room: FileRoom = request.app.state.room
    limit = request.app.state.settings.max_upload_bytes
    with room.draft() as draft:
        await _write_all(request, draft.write, limit)
        return await run_in_threadpool(room.keep, file, draft)


async def _write_all(request: Request, write: Callable[[bytes], None], limit: int) -> None:
    """Hand the body on in blocks; the disk is never written to on the event loop."""
    block = bytearray()
    async for piece in bodies.pieces(request, max_bytes=limit, setting=UPLOAD_SETTING):
        block += piece
        if len(block) >= BLOCK:
            await run_in_threadpool(write, bytes(block))
            block.clear()
    await run_in_threadpool(write, bytes(block))


async def _receive_part(request: Request, file: HostedFile, number: int) -> JSONResponse:
    room: FileRoom = request.app.state.room
    received = bodies.pieces(request, max_bytes=PART_BYTES, setting=PART_SETTING)
    data = b"".join([piece async for piece in received])
    etag = await run_in_threadpool(room.keep_part, file, number, data)
    reply = PartReply(partNumber=number, etag=etag)
    return JSONResponse(reply.model_dump(), headers={"etag": f'"{etag}"'})


async def _join(request: Request, file: HostedFile) -> HostedFile:
    limit = request.app.state.settings.max_body_bytes
    listed = await bodies.read_model(request, Completion, max_bytes=limit)
    parts = [Part(number=part.partNumber, etag=part.etag) for part in listed.parts]
    return await run_in_threadpool(request.app.state.room.join, file, parts)


def _access(request: Request, file: HostedFile) -> Access:
    room: FileRoom = request.app.state.room
    return Access(access_url=visit_of(request).bases.of(Area.CDN) + room.path(file))
