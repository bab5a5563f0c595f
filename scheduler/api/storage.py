"""``/rest/storage``: where clients ask for addresses to upload to; the bytes then go to `cdn`."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from scheduler.api import bodies
from scheduler.api.edge import visit_of
from scheduler.api.keyring import FilesCaller
from scheduler.api.lifecycle import lifetime_s
from scheduler.api.places import Area
from scheduler.files.room import FileRoom

router = APIRouter(prefix="/rest/storage", tags=["files"])

TOKEN_S = 4 * 3600.0
"""How long one token lets a client upload; clients ask for the next one by themselves."""


class Announcement(BaseModel):
    """What a client says of a file before it sends it."""

    content_type: str = Field(default="", max_length=1000, description="Its media type.")
    file_name: str = Field(
        default="", max_length=10_000, description="Its name; folders in it are dropped."
    )


class UploadPlace(BaseModel):
    """Where to send a file's bytes, and where it can be read once they are there."""

    upload_url: str = Field(description="PUT the bytes here; carries its own secret.")
    file_url: str = Field(description="To be named in requests; whoever has it may read the file.")


class Token(BaseModel):
    """Lets a client upload files for a while."""

    token: str
    token_type: str = Field(description="The scheme to send it with in `Authorization`.")
    base_url: str = Field(description="Where `/files/upload` and its like are.")
    expires_at: str = Field(description="ISO 8601 with its offset.")


async def announced(request: Request) -> Announcement:
    """Read a body, whatever its Content-Type says."""
    limit = request.app.state.settings.max_body_bytes
    return await bodies.read_model(request, Announcement, max_bytes=limit)


AnnouncedFile = Annotated[Announcement, Depends(announced)]


@router.post("/auth/token")
async def get_token(request: Request, caller: FilesCaller) -> Token:
    """Give out a token for uploading."""
    room: FileRoom = request.app.state.room
    until = datetime.now(UTC) + timedelta(seconds=TOKEN_S)
    return Token(
        token=room.signer.token(caller.owner, until=until),
        token_type="Bearer",  # noqa: S106 - the name of a scheme
        base_url=visit_of(request).bases.of(Area.CDN),
        expires_at=until.isoformat(),
    )


@router.post("/upload/initiate", openapi_extra=bodies.described(Announcement))
@router.post("/upload/initiate-multipart", openapi_extra=bodies.described(Announcement))
async def initiate(request: Request, caller: FilesCaller, file: AnnouncedFile) -> UploadPlace:
    """Make room for a file, and say where to send its bytes, at once or in parts."""
    room: FileRoom = request.app.state.room
    made = await run_in_threadpool(
        room.announce,
        owner=caller.owner,
        name=file.file_name,
        content_type=file.content_type,
        lifetime_s=lifetime_s(request.headers),
    )
    base = visit_of(request).bases.of(Area.CDN)
    return UploadPlace(
        upload_url=f"{base}/uploads/{made.id}/{room.upload_mark(made.id)}",
        file_url=base + room.path(made),
    )
