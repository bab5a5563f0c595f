"""Rows of files that were handed in, and of what requests leave behind; nothing here commits.

Several files may share their bytes. Whoever adds a reference to a digest, or deletes the bytes that
nobody refers to any more, holds the digest's lock; so bytes never go while a row comes.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler.errors import FileMissing

_LOCK = 0x656E6C66  # the first half of the advisory locks' keys; any constant serves


@dataclass(frozen=True, kw_only=True)
class HostedFile:
    """A file as its row has it.

    Attributes:
        id: Drawn for each; guessable.
        owner: Who handed it in.
        name: Safe to put into a header.
        content_type: What its owner says that it is.
        digest: SHA-256 of its bytes in hexadecimal; None until they are there.
        size: In bytes; None until they are there.
        expires_at: When it goes; None for never.
    """

    id: UUID
    owner: str
    name: str
    content_type: str
    digest: str | None = None
    size: int | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """What a request leaves behind: the folder of its results, and the files that came with it."""

    job_id: UUID
    folder: str
    inputs: tuple[UUID, ...] = ()
    transient: bool = False
    expires_at: datetime | None = None


_ADD = text("""
insert into files (id, owner, name, content_type, digest, size, expires_at)
values (:id, :owner, :name, :content_type, :digest, :size, :expires_at)
""")


def add(session: Session, file: HostedFile) -> None:
    """Add a file: announced only, or with its bytes, whose digest's lock the caller holds."""
    session.execute(_ADD, vars(file))


_FIND = text("""
select id, owner, name, content_type, digest, size, expires_at from files
where id = :id and (expires_at is null or expires_at > clock_timestamp())
""")


def get(session: Session, file_id: UUID) -> HostedFile:
    """Return a file that was announced.

    Raises:
        FileMissing: There is none, or its time is over.
    """
    row = session.execute(_FIND, {"id": file_id}).one_or_none()
    if row is None:
        reason = "there is no such file, or its time is over"
        raise FileMissing(reason)
    return HostedFile(**row._mapping)


def lock(session: Session, digest: str) -> None:
    """Hold a digest until the transaction ends."""
    key = int.from_bytes(bytes.fromhex(digest[:8]), signed=True)
    session.execute(
        text("select pg_advisory_xact_lock(:space, :key)"), {"space": _LOCK, "key": key}
    )


_COMPLETE = text("""
update files set digest = :digest, size = :size
where id = :id and (digest is null or digest = :digest) returning id
""")


def complete(session: Session, file_id: UUID, *, digest: str, size: int) -> bool:
    """Note that a file's bytes are stored; False where it is gone, or has other bytes already."""
    found = session.scalar(_COMPLETE, {"id": file_id, "digest": digest, "size": size})
    return found is not None


# Two statements with an index each; for either condition at once there would be none.
_EXPIRE = text("""
delete from files where id in (
    select id from files where expires_at <= clock_timestamp() order by id limit :limit
    for update skip locked
) returning id, digest
""")
_ABANDON = text("""
delete from files where id in (
    select id from files
    where digest is null and created_at < clock_timestamp() - make_interval(secs => :wait_s)
    order by id limit :limit for update skip locked
) returning id
""")


def expire(session: Session, *, limit: int) -> list[tuple[UUID, str | None]]:
    """Delete rows whose time is over; return their ids and the digests of their bytes."""
    return [(row.id, row.digest) for row in session.execute(_EXPIRE, {"limit": limit})]


def abandon(session: Session, *, wait_s: float, limit: int) -> list[UUID]:
    """Delete rows whose bytes did not come within `wait_s`; return their ids."""
    return list(session.scalars(_ABANDON, {"wait_s": wait_s, "limit": limit}))


def is_referred_to(session: Session, digest: str) -> bool:
    """Whether some file has these bytes."""
    return bool(
        session.scalar(
            text("select exists (select from files where digest = :digest)"), {"digest": digest}
        )
    )


_LEAVE = text("""
insert into outputs (job_id, folder, inputs, transient, expires_at)
select job_id, folder, array(select cast(jsonb_array_elements_text(inputs) as uuid)), transient,
    expires_at
from jsonb_to_recordset(cast(:leftovers as jsonb)) as given(job_id uuid, folder text,
    inputs jsonb, transient boolean, expires_at timestamptz)
""")


def leave(session: Session, leftovers: Sequence[Leftover]) -> None:
    """Note what requests leave behind, in the transaction that makes their jobs."""
    given = json.dumps([vars(each) for each in leftovers], default=str)
    session.execute(_LEAVE, {"leftovers": given})


_LEFT = text("""
select job_id, folder, inputs, transient, expires_at from outputs
where job_id = :job_id and (expires_at is null or expires_at > clock_timestamp())
""")


def left_by(session: Session, job_id: UUID) -> Leftover:
    """Return what a request left behind.

    Raises:
        FileMissing: It left nothing, or its time is over.
    """
    row = session.execute(_LEFT, {"job_id": job_id}).one_or_none()
    if row is None:
        reason = "there is no such result, or its time is over"
        raise FileMissing(reason)
    return _leftover(row._mapping)


def deliver(session: Session, job_id: UUID) -> None:
    """Note that a transient request's result has been handed out: it goes with the next purge."""
    session.execute(
        text("update outputs set delivered = true where job_id = :job_id and transient"),
        {"job_id": job_id},
    )


_TRANSIENT = text("""
select outputs.job_id, folder, inputs, transient, expires_at
from outputs join jobs on jobs.id = outputs.job_id
where transient and (delivered
    or jobs.ended_at < clock_timestamp() - make_interval(secs => :wait_s))
order by outputs.job_id limit :limit
for update of outputs skip locked
""")
_EXPIRED = text("""
select job_id, folder, inputs, transient, expires_at from outputs
where expires_at <= clock_timestamp() order by job_id limit :limit
for update skip locked
""")


def to_forget(session: Session, *, wait_s: float, limit: int) -> list[Leftover]:
    """Name transient requests that were delivered, or ended `wait_s` ago; locks them."""
    rows = session.execute(_TRANSIENT, {"wait_s": wait_s, "limit": limit})
    return [_leftover(row._mapping) for row in rows]


def to_delete(session: Session, *, limit: int) -> list[Leftover]:
    """Name requests whose results' time is over; locks them."""
    return [_leftover(row._mapping) for row in session.execute(_EXPIRED, {"limit": limit})]


FORGOTTEN = {"forgotten": True}
"""The outcome of a job that is not to be remembered."""
# The source stays one that can be asked for, and isn't there: a retry of the batch then fails well.
_FORGET = text("""
with emptied as (
    update jobs set arguments = '{}', passthrough = null, source = :nowhere, source_version = null,
        outcome = case when state = 'succeeded' then cast('{"forgotten": true}' as jsonb) end,
        error = error - 'detail'
    where id = any(:ids) and ended_at is not null
), expired as (
    update files set expires_at = clock_timestamp() where id = any(cast(:inputs as uuid[]))
)
delete from outputs where job_id = any(:ids)
""")
_DROP = text("delete from outputs where job_id = any(:ids)")


def forget(session: Session, leftovers: Sequence[Leftover], *, nowhere: str) -> None:
    """Empty the jobs' rows, end the time of their inputs, and delete what was noted here.

    Args:
        session: The transaction.
        leftovers: Their objects are deleted already.
        nowhere: An address under which nothing is.
    """
    inputs = [each for leftover in leftovers for each in leftover.inputs]
    ids = [leftover.job_id for leftover in leftovers]
    session.execute(_FORGET, {"ids": ids, "inputs": inputs, "nowhere": nowhere})


def drop(session: Session, leftovers: Sequence[Leftover]) -> None:
    """Delete what was noted of requests whose results are gone; their jobs stay."""
    session.execute(_DROP, {"ids": [leftover.job_id for leftover in leftovers]})


def _leftover(row: object) -> Leftover:
    fields = dict(row)  # type: ignore[call-overload]  # a SQLAlchemy row mapping
    return Leftover(**{**fields, "inputs": tuple(fields["inputs"])})
