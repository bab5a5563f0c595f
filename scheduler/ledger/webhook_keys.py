"""The keys that messages are signed with. Like `jobs`, nothing here commits."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler.ledger.webhook_tables import KeyKind

SECRET_BYTES = 32
_LOCK = 0x656E6C65  # the advisory lock of those who create keys; any constant serves


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key that is valid.

    Attributes:
        id: Its number.
        kind: What it signs with.
        subscription_id: Whose it is; None for the system's own.
        secret: 32 bytes.
        created_at: Since when it has been valid, and published.
        signs_from: Since when it signs where only one signature fits.
        expires_at: Until when it is valid; None for the newest.
        signs: Whether `signs_from` has come.
    """

    id: int
    kind: KeyKind
    subscription_id: UUID | None
    secret: bytes
    created_at: datetime
    signs_from: datetime
    expires_at: datetime | None
    signs: bool


_VALID = text("""
select id, kind, subscription_id, secret, created_at, signs_from, expires_at,
    signs_from <= clock_timestamp() as signs
from webhook_keys
where expires_at is null or expires_at > clock_timestamp() order by id
""")
_ADD = text("""
insert into webhook_keys (kind, subscription_id, secret, signs_from)
values (:kind, :subscription_id, :secret, clock_timestamp() + :delay)
""")
_EXPIRE = text("""
update webhook_keys set expires_at = clock_timestamp() + :delay
where kind = :kind and subscription_id is not distinct from :subscription_id
    and (expires_at is null or expires_at > clock_timestamp() + :delay)
""")


def valid(session: Session) -> list[Key]:
    """Return all keys that have not expired, of the system and of subscriptions, oldest first."""
    rows = session.execute(_VALID)
    return [Key(**{**row._mapping, "kind": KeyKind(row.kind)}) for row in rows]


_NEWEST = text("""
select id, kind, subscription_id, secret, created_at, signs_from, expires_at,
    signs_from <= clock_timestamp() as signs
from webhook_keys
where kind = :kind and subscription_id is not distinct from :subscription_id and expires_at is null
order by id desc limit 1
""")


def own(session: Session, subscription_id: UUID | None, kind: KeyKind) -> Key:
    """Return the newest key of a subscription, or of the system; make it if there is none."""
    which = {"kind": str(kind), "subscription_id": subscription_id}
    row = session.execute(_NEWEST, which).one_or_none()
    if row is None:
        add(session, kind, subscription_id=subscription_id)
        row = session.execute(_NEWEST, which).one()
    return Key(**{**row._mapping, "kind": KeyKind(row.kind)})


def ensure(session: Session) -> None:
    """Make the system's first keys, one of each kind, unless they are there."""
    if _kinds(session) == set(KeyKind):
        return
    session.execute(text("select pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    for kind in sorted(set(KeyKind) - _kinds(session)):
        add(session, kind)


def _kinds(session: Session) -> set[KeyKind]:
    return {key.kind for key in valid(session) if key.subscription_id is None}


def add(
    session: Session,
    kind: KeyKind,
    *,
    subscription_id: UUID | None = None,
    delay: timedelta = timedelta(0),
) -> None:
    """Make a key that is valid from now on and signs alone after `delay`."""
    session.execute(
        _ADD,
        {
            "kind": str(kind),
            "subscription_id": subscription_id,
            "secret": secrets.token_bytes(SECRET_BYTES),
            "delay": delay,
        },
    )


def rotate(
    session: Session, kind: KeyKind, *, overlap: timedelta, subscription_id: UUID | None = None
) -> None:
    """Put a new key in the place of the old, with time for the consumers to learn of it.

    The new key is published at once. Where several signatures fit, both sign during the overlap;
    where one fits, the old one does until its end. For another overlap the old one stays
    published, so that what it signed last can be verified.

    Args:
        session: The transaction.
        kind: Which.
        overlap: Zero replaces all older keys at once, for one that was disclosed.
        subscription_id: Whose; None for the system's.
    """
    which = {"kind": str(kind), "subscription_id": subscription_id}
    session.execute(_EXPIRE, {**which, "delay": 2 * overlap})
    add(session, kind, subscription_id=subscription_id, delay=overlap)


_FORGET = text("""
delete from webhook_keys where expires_at < clock_timestamp() - interval '7 days'
""")


def forget_expired(session: Session) -> None:
    """Delete the keys that expired a week ago."""
    session.execute(_FORGET)
