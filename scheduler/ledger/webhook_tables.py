"""The rows of webhooks: who wants to hear of what, and what became of each message.

event        written where it happens; noted in `outbox` if somebody may want to hear of it
delivery     due -> sending -> delivered | dead
               ^_______|           tried again, or its sender died
subscription active <-> paused (it only failed) | disabled (its consumer answered 410)
"""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, Identity, Index, Integer, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from scheduler.ledger.tables import Base, one_of


class Style(StrEnum):
    """Which shape, signature and schedule a subscriber expects."""

    FAL = "fal"
    """One POST with a request's result, as fal's queue sends it."""
    OURS = "ours"
    """An envelope for each event, signed after Standard Webhooks."""


class SubscriptionState(StrEnum):
    """Whether a subscriber is told."""

    ACTIVE = "active"
    PAUSED = "paused"
    """It only failed, or somebody paused it; its deliveries wait until it is resumed."""
    DISABLED = "disabled"
    """Its consumer answered 410: it is not told of anything until it is resumed."""


class DeliveryState(StrEnum):
    """Where a message stands."""

    DUE = "due"
    """To be sent, from `due_at` on; at infinity while its subscription is paused."""
    SENDING = "sending"
    """A sender has it until `due_at`; after that it is due again."""
    DELIVERED = "delivered"
    DEAD = "dead"
    """The last try failed, or its consumer wants no more; `enlarger webhooks replay` revives it."""


class KeyKind(StrEnum):
    """What a key signs with."""

    ED25519 = "ed25519"
    HMAC = "hmac"


class Subscription(Base):
    """Who is told of what: of one job, of one batch, or of whatever fits (a standing one).

    `origin` is the URL's scheme, host and port: what fails and is spared as one.
    `endpoint` and `prefix` narrow a subscription; the latter is what the source's address begins
    with. `failing_since` is set by the first failure after a success.
    """

    __tablename__ = "subscriptions"
    __table_args__ = (
        one_of("style", Style),
        one_of("state", SubscriptionState),
        Index(None, "job_id", postgresql_where=text("job_id is not null")),
        Index(
            "uq_subscriptions_batch_id_url",
            "batch_id",
            "url",
            unique=True,
            postgresql_where=text("batch_id is not null"),
        ),
        Index(
            "ix_subscriptions_standing",
            "id",
            postgresql_where=text("job_id is null and batch_id is null"),
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    owner: Mapped[str] = mapped_column(server_default="")
    url: Mapped[str]
    origin: Mapped[str]
    style: Mapped[Style] = mapped_column(Text)
    events: Mapped[list[str]] = mapped_column(ARRAY(Text))
    job_id: Mapped[UUID | None]
    batch_id: Mapped[UUID | None]
    endpoint: Mapped[str | None]
    prefix: Mapped[str | None]
    state: Mapped[SubscriptionState] = mapped_column(Text, server_default="active")
    reason: Mapped[str | None]
    failing_since: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))


class Outbox(Base):
    """An event that somebody may want to hear of, until it has become deliveries.

    The database notes it by a trigger on `events`, in the transaction of the event, so that no
    writer can forget it; events that nobody subscribed to leave no trace here.
    """

    __tablename__ = "outbox"
    __table_args__ = ({"postgresql_with": {"autovacuum_vacuum_scale_factor": "0.01"}},)

    event_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    type: Mapped[str]
    batch_id: Mapped[UUID]
    job_id: Mapped[UUID | None]
    at: Mapped[datetime]


class Delivery(Base):
    """One event for one subscription; kept, and dropped, with the week of its batch.

    `epoch` is the fence: it rises whenever a sender takes the row. `failures` counts the failed
    tries since the row was made or replayed, and decides on the next one. `body` is what is sent,
    the same bytes at each try.
    """

    __tablename__ = "deliveries"
    __table_args__ = (
        one_of("state", DeliveryState),
        Index(
            "ix_deliveries_due",
            "origin",
            "due_at",
            postgresql_where=text("state in ('due', 'sending')"),
        ),
        Index("ix_deliveries_dead", "event_id", postgresql_where=text("state = 'dead'")),
        Index(
            "ix_deliveries_oldest",
            "happened_at",
            postgresql_where=text("state in ('due', 'sending') and due_at < 'infinity'"),
        ),
        {"postgresql_partition_by": "range (batch_id)"},
    )

    batch_id: Mapped[UUID] = mapped_column(primary_key=True)
    event_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    subscription_id: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[UUID | None]
    type: Mapped[str]
    origin: Mapped[str]
    state: Mapped[DeliveryState] = mapped_column(Text, server_default="due")
    epoch: Mapped[int] = mapped_column(Integer, server_default="0")
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    happened_at: Mapped[datetime]
    due_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    ended_at: Mapped[datetime | None]
    tried_at: Mapped[datetime | None]
    status: Mapped[int | None] = mapped_column(Integer)
    answer: Mapped[str | None]
    body: Mapped[str]


class DeliveryRate(Base):
    """How many tries a destination took and failed in one hour, for success rates."""

    __tablename__ = "delivery_rates"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    origin: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    delivered: Mapped[int] = mapped_column(BigInteger, server_default="0")
    failed: Mapped[int] = mapped_column(BigInteger, server_default="0")


class WebhookKey(Base):
    """A key that messages are signed with: the system's, or one subscription's own.

    It is valid from its creation to `expires_at`, so that consumers can be told in time; where only
    one signature fits (fal's), the newest key whose `signs_from` has come makes it.
    """

    __tablename__ = "webhook_keys"
    __table_args__ = (one_of("kind", KeyKind),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    kind: Mapped[KeyKind] = mapped_column(Text)
    subscription_id: Mapped[UUID | None]
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=text("now()"))
    signs_from: Mapped[datetime] = mapped_column(server_default=text("now()"))
    expires_at: Mapped[datetime | None]
