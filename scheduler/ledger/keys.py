"""API keys: made, listed, revoked and looked up. The ledger keeps hashes, never a secret.

A secret is 256 random bits, so its plain SHA-256 can't be turned back, and no slow hash is needed.
Nothing here commits.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from scheduler.errors import KeyUnknown
from scheduler.ledger.request_tables import ApiKey


class Scope(StrEnum):
    """What a key may be used for."""

    REQUESTS = "requests"
    """Submitting, following, cancelling and reading requests."""
    FILES = "files"
    """Uploading files."""
    BATCHES = "batches"
    """Submitting and steering batches."""
    METRICS = "metrics"
    """Reading the system's figures."""


USUAL = (Scope.REQUESTS, Scope.FILES, Scope.BATCHES)
"""The scopes of a key that was made without naming any."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What a new key allows.

    Attributes:
        owner: Whose requests it makes and sees.
        name: For people.
        scopes: What it may be used for.
        max_queued: Requests of its owner that may wait at once; None for any number.
        per_minute: Requests it may submit in a minute; None for any number.
    """

    owner: str
    name: str = ""
    scopes: tuple[Scope, ...] = USUAL
    max_queued: int | None = None
    per_minute: int | None = None


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who a good key stands for, and what it allows."""

    key_id: UUID
    owner: str
    scopes: frozenset[str]
    max_queued: int | None = None
    per_minute: int | None = None


def create(session: Session, grant: Grant) -> str:
    """Make a key and return it as `id:secret`; the secret can't be had again."""
    id_, secret = uuid4(), secrets.token_hex(32)
    session.add(
        ApiKey(
            id=id_,
            name=grant.name,
            owner=grant.owner,
            secret_hash=_hash(secret),
            scopes=[str(scope) for scope in grant.scopes],
            max_queued=grant.max_queued,
            per_minute=grant.per_minute,
        )
    )
    session.flush()
    return f"{id_}:{secret}"


def listed(session: Session) -> list[ApiKey]:
    """Return all keys, the newest last."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at, ApiKey.id)))


def revoke(session: Session, key_id: UUID) -> bool:
    """Let a key be good for nothing; tell whether it was good until now.

    Raises:
        KeyUnknown: There is none.
    """
    if session.get(ApiKey, key_id) is None:
        reason = f"key: {key_id} is unknown; `enlarger keys list` lists them"
        raise KeyUnknown(reason, field="key")
    statement = "update api_keys set revoked_at = now() where id = :id and revoked_at is null"
    changed = session.scalar(text(f"{statement} returning id"), {"id": key_id})
    return changed is not None


def find(session: Session, credential: str) -> Caller | None:
    """Return who `id:secret` stands for; None where that is no good key.

    Takes the same time for an unknown id and a wrong secret, as far as Python can.
    """
    key_id, _, secret = credential.partition(":")
    row = session.get(ApiKey, id_) if (id_ := _uuid(key_id)) else None
    expected = row.secret_hash if row else bytes(32)
    right = hmac.compare_digest(_hash(secret), expected)
    if row is None or not right or row.revoked_at is not None:
        return None
    return Caller(
        key_id=row.id,
        owner=row.owner,
        scopes=frozenset(row.scopes),
        max_queued=row.max_queued,
        per_minute=row.per_minute,
    )


def fingerprint(credential: str) -> bytes:
    """Return what a credential may be remembered by, without being remembered itself."""
    return _hash(credential)


def scopes(names: Iterable[str]) -> tuple[Scope, ...]:
    """Return the scopes that are named, or the usual ones where none is."""
    return tuple(Scope(name) for name in names) or USUAL


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode(errors="replace")).digest()


def _uuid(text_: str) -> UUID | None:
    try:
        return UUID(text_)
    except ValueError:
        return None
