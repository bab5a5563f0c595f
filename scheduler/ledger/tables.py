"""The ledger's rows and the states they pass through; transitions live beside this file.

job    waiting -> queued -> running -> succeeded | failed | cancelled     (a bad row: rejected)
          ^_________|__________|
batch  reading -> open <-> paused -> finished | cancelled | unreadable
"""

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class JobState(StrEnum):
    """Where a job stands."""

    WAITING = "waiting"
    """Wants a place in Redis, from `run_after` on."""
    QUEUED = "queued"
    """A message for it was published, or is about to be."""
    RUNNING = "running"
    """A worker holds it under its lease."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    """A row of a manifest that could not become a job."""


ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.REJECTED)


class BatchState(StrEnum):
    """Where a batch stands."""

    READING = "reading"
    """Its source is still being read; what was read already runs."""
    OPEN = "open"
    """Read to the end; some jobs have not ended."""
    PAUSED = "paused"
    """Nothing new is queued."""
    FINISHED = "finished"
    """Every job has ended."""
    CANCELLED = "cancelled"
    """Nothing new starts; what waited is being cancelled."""
    UNREADABLE = "unreadable"
    """The source failed before its end, see `reason`; what was read before still runs."""


class Base(DeclarativeBase):
    """Names every constraint, so that migrations and error mapping can rely on the names."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own protocol
        dict[str, Any]: JSONB(none_as_null=True),
        str: Text,
        datetime: DateTime(timezone=True),
        float: Double,
    }


def one_of(column: str, states: type[StrEnum]) -> CheckConstraint:
    """Return the constraint that a column holds one of these."""
    return CheckConstraint(f"{column} in ({', '.join(repr(str(s)) for s in states)})", name=column)


class Batch(Base):
    """One submission: a source, a destination, an endpoint and its arguments.

    The counters are what was folded from `Delta` rows so far; add the deltas for the exact figure.
    `pipelines` are those that its jobs, as far as they have been read, need.
    A batch is active until `ended_at` is set: every one of its jobs has ended by then. From
    `pruned_at` on its jobs and events are gone, and this row is all that is left of it.
    `retrying` holds the states of jobs that are being given another chance, those behind the line
    `retried` still to come.
    From `discarded_at` on its results are no longer in the store; those up to the line `discarded`
    are gone before.
    `feed` names what feeds a batch that reads no source; until `fed_until` is null it takes jobs.
    """

    __tablename__ = "batches"
    __table_args__ = (
        one_of("state", BatchState),
        Index("ix_batches_active", "id", postgresql_where=text("ended_at is null")),
        Index(
            "ix_batches_unreported",
            "id",
            postgresql_where=text("ended_at is not null and reported_at is null"),
        ),
        # The same submission again is the same batch; `--again` leaves the fingerprint out.
        UniqueConstraint("fingerprint"),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(server_default="")
    state: Mapped[BatchState] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    source: Mapped[str]
    source_version: Mapped[str]
    destination: Mapped[str]
    endpoint: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    options: Mapped[dict[str, Any]]
    pipelines: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default="{}")
    fingerprint: Mapped[str | None]
    feed: Mapped[str | None]
    fed_until: Mapped[datetime | None]
    cursor: Mapped[dict[str, Any] | None]
    retrying: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    retried: Mapped[int] = mapped_column(BigInteger, server_default="0")
    reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    read_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    reported_at: Mapped[datetime | None]
    discarded: Mapped[int] = mapped_column(BigInteger, server_default="0")
    discarded_at: Mapped[datetime | None]
    pruned_at: Mapped[datetime | None]
    total: Mapped[int] = mapped_column(BigInteger, server_default="0")
    succeeded: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failed: Mapped[int] = mapped_column(BigInteger, server_default="0")
    cancelled: Mapped[int] = mapped_column(BigInteger, server_default="0")
    rejected: Mapped[int] = mapped_column(BigInteger, server_default="0")
    skipped: Mapped[int] = mapped_column(BigInteger, server_default="0")
    existing: Mapped[int] = mapped_column(BigInteger, server_default="0")
    reused: Mapped[int] = mapped_column(BigInteger, server_default="0")
    bytes_out: Mapped[int] = mapped_column(BigInteger, server_default="0")
    device_s: Mapped[float] = mapped_column(server_default="0")


class Delta(Base):
    """What one transaction adds to a batch's counters; folded and deleted by the scheduler."""

    __tablename__ = "batch_deltas"
    __table_args__ = (Index(None, "batch_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    batch_id: Mapped[UUID]
    total: Mapped[int] = mapped_column(BigInteger, server_default="0")
    succeeded: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failed: Mapped[int] = mapped_column(BigInteger, server_default="0")
    cancelled: Mapped[int] = mapped_column(BigInteger, server_default="0")
    rejected: Mapped[int] = mapped_column(BigInteger, server_default="0")
    skipped: Mapped[int] = mapped_column(BigInteger, server_default="0")
    existing: Mapped[int] = mapped_column(BigInteger, server_default="0")
    reused: Mapped[int] = mapped_column(BigInteger, server_default="0")
    bytes_out: Mapped[int] = mapped_column(BigInteger, server_default="0")
    device_s: Mapped[float] = mapped_column(server_default="0")


class Job(Base):
    """One image to enlarge.

    `epoch` is the fence: it rises at every claim, and whoever does not match it has lost the job.
    `source_alternative` is another reading of a source that its manifest left in doubt,
    `source_etag` what its first attempt read, where the row names no version.
    `failures` is the budget: only world errors and lapsed leases use it up.
    `id` is made of the batch's id and the line, and says which partition it lies in: see `periods`,
    where also the partitions' own constraint is, that no two rows of a batch have one destination.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        one_of("state", JobState),
        Index(
            "ix_jobs_waiting",
            "batch_id",
            "pipeline",
            "run_after",
            "line",
            postgresql_where=text("state = 'waiting'"),
        ),
        Index("ix_jobs_queued", "pipeline", "queued_at", postgresql_where=text("state = 'queued'")),
        Index("ix_jobs_running", "worker_id", postgresql_where=text("state = 'running'")),
        {"postgresql_partition_by": "range (id)"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    batch_id: Mapped[UUID]
    line: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[JobState] = mapped_column(Text)
    pipeline: Mapped[str]
    endpoint: Mapped[str]
    source: Mapped[str | None]
    source_version: Mapped[str | None]
    source_alternative: Mapped[str | None]
    source_etag: Mapped[str | None]
    destination: Mapped[str | None]
    destination_key: Mapped[UUID | None]
    custom_id: Mapped[str | None]
    arguments: Mapped[dict[str, Any]]
    passthrough: Mapped[dict[str, Any] | None]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    epoch: Mapped[int] = mapped_column(Integer, server_default="0")
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    alone: Mapped[bool] = mapped_column(server_default=text("false"))
    cancel_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    run_after: Mapped[datetime] = mapped_column(server_default=text("now()"))
    queued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    deadline: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    worker_id: Mapped[UUID | None]
    outcome: Mapped[dict[str, Any] | None]
    error: Mapped[dict[str, Any] | None]


class Event(Base):
    """One thing that happened, written in the transaction that made it happen."""

    __tablename__ = "events"
    __table_args__ = (
        Index(None, "batch_id", "id"),
        {"postgresql_partition_by": "range (batch_id)"},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    type: Mapped[str]
    batch_id: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[UUID | None]
    at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    body: Mapped[dict[str, Any] | None]


class Reusable(Base):
    """What a job made of its input: looked up by equal jobs of the same owner.

    `recipe` is a digest of all that decides the result; `job_id` is not a reference, since
    retention drops jobs. The index on the time is small, and as good as any: entries only ever come
    at the end.
    """

    __tablename__ = "reusable"
    __table_args__ = (Index(None, "made_at", postgresql_using="brin"),)

    owner: Mapped[str] = mapped_column(primary_key=True)
    recipe: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    job_id: Mapped[UUID]
    result: Mapped[dict[str, Any]]
    made_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class Bookmark(Base):
    """Where the dispatcher stood lately: one row, see `bookmarks`."""

    __tablename__ = "bookmarks"

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    places: Mapped[list[Any]] = mapped_column(JSONB(none_as_null=True))
    handed: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    noted_at: Mapped[datetime]


class Worker(Base):
    """One worker process, as it last described itself."""

    __tablename__ = "workers"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    device: Mapped[str]
    memory_bytes: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[str]
    resident: Mapped[dict[str, Any]]
    ready: Mapped[dict[str, Any]]
    not_ready: Mapped[dict[str, Any]]
    figures: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    started_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    last_seen: Mapped[datetime] = mapped_column(server_default=text("now()"))
    stopped_at: Mapped[datetime | None]
    lapsed: Mapped[bool] = mapped_column(server_default="false")


class Lease(Base):
    """A worker's word that it lives; narrow and apart, so that renewing it stays a HOT update."""

    __tablename__ = "leases"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    worker_id: Mapped[UUID] = mapped_column(primary_key=True)
    expires_at: Mapped[datetime]


class File(Base):
    """A file that somebody handed in; its bytes lie under their digest, and may be shared.

    `digest` (SHA-256, hexadecimal) and `size` are null until the bytes are there.
    """

    __tablename__ = "files"
    __table_args__ = (
        Index(None, "digest"),
        Index(None, "expires_at", postgresql_where=text("expires_at is not null")),
        Index("ix_files_unfinished", "created_at", postgresql_where=text("digest is null")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner: Mapped[str]
    name: Mapped[str]
    content_type: Mapped[str]
    digest: Mapped[str | None]
    size: Mapped[int | None] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    expires_at: Mapped[datetime | None]


class Output(Base):
    """What a request over HTTP leaves behind beside its job: a folder of results.

    `inputs` are the files that came within the request. A `transient` request keeps nothing: soon
    after its end the job's row is emptied and its files are deleted.
    """

    __tablename__ = "outputs"
    __table_args__ = (
        Index(None, "expires_at", postgresql_where=text("expires_at is not null")),
        Index("ix_outputs_transient", "job_id", postgresql_where=text("transient")),
    )

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    folder: Mapped[str]
    inputs: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default="{}")
    transient: Mapped[bool] = mapped_column(server_default=text("false"))
    delivered: Mapped[bool] = mapped_column(server_default=text("false"))
    expires_at: Mapped[datetime | None]
