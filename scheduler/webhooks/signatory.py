"""Who signs for whom: the valid keys, as the ledger had them a moment ago."""

import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from scheduler.ledger import webhook_keys
from scheduler.ledger.deliveries import Taken
from scheduler.ledger.webhook_keys import Key
from scheduler.ledger.webhook_tables import KeyKind, Style
from scheduler.webhooks import envelope, fal, signing
from scheduler.webhooks.envelope import message_id


class Signatory:
    """Signs messages with the keys of the system, and with the secrets of their subscriptions."""

    def __init__(self, keys: list[Key]) -> None:
        by_owner: Mapping[UUID | None, list[Key]] = defaultdict(list)
        for key in keys:
            by_owner[key.subscription_id].append(key)
        self._system = by_owner[None]
        self._public = [key for key in self._system if key.kind is KeyKind.ED25519]
        self._own = {owner: keys for owner, keys in by_owner.items() if owner is not None}

    @classmethod
    def read(cls, session: Session) -> "Signatory":
        """Read the keys; make the first ones where there are none."""
        webhook_keys.ensure(session)
        return cls(webhook_keys.valid(session))

    def headers(self, delivery: Taken, body: bytes) -> dict[str, str]:
        """Return the signature of a try that begins now."""
        at = int(time.time())
        if delivery.style is Style.FAL:
            return signing.fal(
                self._public,
                request_id=str(delivery.job_id),
                user_id=" ".join(delivery.owner.split()) or fal.NOBODY,
                at=at,
                body=body,
            )
        return self.standard(
            message_id(delivery.key.event_id), body, at=at, owner=delivery.key.subscription_id
        )

    def sample(self, owner: UUID | None) -> tuple[bytes, dict[str, str]]:
        """Return a message that tells of nothing, and its headers."""
        now = datetime.now(UTC)
        id_ = f"evt_test_{uuid7().hex[-12:]}"
        body = envelope.sample(now, id_).encode()
        return body, self.standard(id_, body, at=int(now.timestamp()), owner=owner)

    def standard(
        self, id_: str, body: bytes, *, at: int, owner: UUID | None = None
    ) -> dict[str, str]:
        """Return the headers of Standard Webhooks; a subscription's own secret goes before ours."""
        own = self._own.get(owner) if owner is not None else None
        keys = [*own, *self._public] if own else self._system
        return signing.standard(keys, message_id=id_, at=at, body=body)
