"""Signatures of messages: fal's, and those of Standard Webhooks. Pure functions.

Both sign the raw bytes of the body and the time of the try, so that a message that somebody has
recorded is worth nothing after a few minutes.
"""

import hashlib
import hmac
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from nacl.signing import SigningKey

from scheduler.ledger.webhook_keys import Key
from scheduler.ledger.webhook_tables import KeyKind

SECRET_PREFIX = "whsec_"  # noqa: S105 - the specification's own prefixes
PUBLIC_PREFIX = "whpk_"


@lru_cache(maxsize=64)
def _private(secret: bytes) -> SigningKey:
    return SigningKey(secret)


def public(key: Key) -> bytes:
    """Return the 32 bytes that verify what an Ed25519 key has signed."""
    return bytes(_private(key.secret).verify_key)


def spelt(key: Key) -> str:
    """Return what a consumer verifies with: `whsec_…`, to be kept secret, or `whpk_…`."""
    if key.kind is KeyKind.HMAC:
        return SECRET_PREFIX + b64encode(key.secret).decode()
    return PUBLIC_PREFIX + b64encode(public(key)).decode()


def standard(keys: Sequence[Key], *, message_id: str, at: int, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks: a signature by each key, so that any of them serves.

    Args:
        keys: All that are valid; HMAC ones sign as `v1`, Ed25519 ones as `v1a`.
        message_id: The same at each try; without a dot.
        at: Unix seconds of this try.
        body: What is sent.
    """
    signed = f"{message_id}.{at}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(_standard(key, signed) for key in keys),
    }


def _standard(key: Key, signed: bytes) -> str:
    if key.kind is KeyKind.HMAC:
        return f"v1,{b64encode(hmac.digest(key.secret, signed, 'sha256')).decode()}"
    return f"v1a,{b64encode(_private(key.secret).sign(signed).signature).decode()}"


def fal(
    keys: Sequence[Key], *, request_id: str, user_id: str, at: int, body: bytes
) -> dict[str, str]:
    """Return fal's headers: one Ed25519 signature, in hex, by the newest key whose time has come.

    Args:
        keys: All that are valid, oldest first.
        request_id: The job's id.
        user_id: Not empty, and without a line end.
        at: Unix seconds of this try.
        body: What is sent.
    """
    key = [each for each in keys if each.kind is KeyKind.ED25519 and each.signs][-1]
    digest = hashlib.sha256(body).hexdigest()
    signed = "\n".join((request_id, user_id, str(at), digest)).encode()
    return {
        "X-Fal-Webhook-Request-Id": request_id,
        "X-Fal-Webhook-User-Id": user_id,
        "X-Fal-Webhook-Timestamp": str(at),
        "X-Fal-Webhook-Signature": _private(key.secret).sign(signed).signature.hex(),
    }


def jwks(keys: Sequence[Key]) -> dict[str, Any]:
    """Return the document with all valid public keys, those not yet in use included (RFC 8037)."""
    return {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "x": urlsafe_b64encode(public(key)).rstrip(b"=").decode(),
                "kid": str(key.id),
                "use": "sig",
                "alg": "EdDSA",
            }
            for key in keys
            if key.kind is KeyKind.ED25519
        ]
    }
