"""The rows of the API: keys, what a request is beside its job, its line's counter and its log."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from scheduler.ledger.tables import Base


class ApiKey(Base):
    """A key to the API; of its secret there is only the SHA-256."""

    __tablename__ = "api_keys"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    owner: Mapped[str]
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    max_queued: Mapped[int | None]
    per_minute: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    revoked_at: Mapped[datetime | None]


class Request(Base):
    """What a request over HTTP is beside its job, whose id it has.

    `place` is the number of requests that had come to its feed before it, as far as that was known;
    what is left of it after those that have gone since is its position.
    """

    __tablename__ = "requests"
    __table_args__ = (
        UniqueConstraint("owner", "idempotency_key"),
        Index("ix_requests_start_by", "start_by", postgresql_where=text("start_by is not null")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner: Mapped[str]
    endpoint: Mapped[str]
    cdn: Mapped[str]
    place: Mapped[int] = mapped_column(BigInteger)
    start_by: Mapped[datetime | None]
    start_within_s: Mapped[float | None]
    idempotency_key: Mapped[str | None]
    fingerprint: Mapped[str | None]
    transient: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class QueueCounter(Base):
    """How many requests have come to an open feed, and how many have left its line."""

    __tablename__ = "queue_counters"

    batch_id: Mapped[UUID] = mapped_column(primary_key=True)
    arrived: Mapped[int] = mapped_column(BigInteger)
    gone: Mapped[int] = mapped_column(BigInteger)
    refreshed_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class StoredLog(Base):
    """What a job that somebody follows had to say in its last attempt; bounded."""

    __tablename__ = "job_logs"

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(Integer)
    entries: Mapped[list[dict[str, Any]]] = mapped_column(JSONB(none_as_null=True))
