"""The ledger's rows of bucket triggers; `triggers` has their transitions."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, SmallInteger, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from scheduler.ledger.tables import Base


class Trigger(Base):
    """A rule: an object that arrives below a prefix of a bucket becomes a job.

    Attributes of the same names are explained in `scheduler.triggers.rules.Rule`. A rule that was
    removed stays until what it has taken is deleted, a piece at a time.
    """

    __tablename__ = "triggers"
    __table_args__ = (
        Index("uq_triggers_name", "name", unique=True, postgresql_where=text("removed_at is null")),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    owner: Mapped[str] = mapped_column(server_default="")
    bucket: Mapped[str]
    prefix: Mapped[str]
    suffixes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    globs: Mapped[list[str]] = mapped_column(ARRAY(Text))
    excludes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    endpoint: Mapped[str]
    arguments: Mapped[dict[str, Any]]
    destination: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger)
    webhook: Mapped[str | None]
    paused: Mapped[bool] = mapped_column(server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    removed_at: Mapped[datetime | None]


class TakenObject(Base):
    """An object's version that a rule has made a job of; `object` is `Arrival.identity`."""

    __tablename__ = "taken_objects"
    # The rows come in the order of their time, so a few pages of a block range index find the old.
    __table_args__ = (Index(None, "taken_at", postgresql_using="brin"),)

    trigger_id: Mapped[UUID] = mapped_column(primary_key=True)
    object: Mapped[UUID] = mapped_column(primary_key=True)
    taken_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class HeldArrival(Base):
    """An object that arrived while its rule was paused."""

    __tablename__ = "held_arrivals"
    __table_args__ = (Index(None, "trigger_id", "id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    trigger_id: Mapped[UUID]
    arrival: Mapped[dict[str, Any]]


class DeadEvent(Base):
    """A message of a bucket's that could not be understood, kept for people to look at."""

    __tablename__ = "dead_events"

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    source: Mapped[str]
    reason: Mapped[str]
    body: Mapped[str]
    at: Mapped[datetime] = mapped_column(server_default=text("now()"))
