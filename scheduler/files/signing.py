"""Secrets that are derived and not stored: marks in public addresses, tokens, and sealed bytes.

Everything hangs on ENLARGER_SECRET_KEY. Changing it makes all public addresses and tokens invalid
at once, and sealed results unreadable; nothing else is lost.
"""

import base64
import hashlib
import hmac
import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from scheduler.errors import AddressSecretWrong, ResultForgotten, SettingsInvalid
from scheduler.settings import Settings

SEALED = "sealed"
"""The option of a batch, or of a feed, whose results are encrypted before they are stored."""
MARK_CHARACTERS = 27
"""Of base64: 162 bits, far beyond guessing."""
NONCE_BYTES = 12  # NIST SP 800-38D, section 8.2: what AES-GCM takes as it stands
NO_KEY = (
    "ENLARGER_SECRET_KEY is not set; set it to 32 random characters or more, the same for every "
    "process: openssl rand -hex 32"
)
REFUSED = "this address or token is not valid; it must be used exactly as it was given"


@dataclass(frozen=True, kw_only=True)
class Signer:
    """Derives secrets from one key.

    Attributes:
        key: Never leaves this class.
    """

    key: bytes

    def __repr__(self) -> str:
        return "Signer()"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the signer of these settings.

        Raises:
            SettingsInvalid: There is no key.
        """
        if settings.secret_key is None:
            raise SettingsInvalid(NO_KEY, field="secret_key")
        return cls(key=settings.secret_key.get_secret_value().encode())

    def mark(self, *parts: str) -> str:
        """Return what proves that these parts, in this order, were given out by us."""
        digest = self._digest("mark", json.dumps(parts))
        return base64.urlsafe_b64encode(digest).decode()[:MARK_CHARACTERS]

    def check(self, mark: str, *parts: str) -> None:
        """Compare a mark in constant time.

        Raises:
            AddressSecretWrong: It is not that of these parts.
        """
        if not hmac.compare_digest(mark.encode(), self.mark(*parts).encode()):
            raise AddressSecretWrong(REFUSED)

    def token(self, owner: str, *, until: datetime) -> str:
        """Return a token that lets its bearer upload as `owner` for a while."""
        claim = json.dumps([owner, int(until.timestamp())])
        claimed = base64.urlsafe_b64encode(claim.encode()).decode().rstrip("=")
        return f"{claimed}.{self.mark('token', claimed)}"

    def owner(self, token: str, *, now: datetime) -> str:
        """Return whom a token was made for.

        Raises:
            AddressSecretWrong: It is not one of ours, or its time is over.
        """
        claimed, _, mark = token.partition(".")
        self.check(mark, "token", claimed)
        owner, until = json.loads(base64.urlsafe_b64decode(claimed + "=" * (-len(claimed) % 4)))
        if now > datetime.fromtimestamp(until, UTC):
            reason = "this token's time is over; ask for another one"
            raise AddressSecretWrong(reason)
        return str(owner)

    def seal(self, data: bytes, *, place: str) -> bytes:
        """Encrypt bytes for one place (AES-256-GCM); elsewhere they can't be opened."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher().encrypt(nonce, data, place.encode())

    def unseal(self, sealed: bytes, *, place: str) -> bytes:
        """Decrypt what `seal` made.

        Raises:
            ResultForgotten: It was sealed for another place or by another key, or was changed.
        """
        nonce, rest = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
        try:
            return self._cipher().decrypt(nonce, rest, place.encode())
        except InvalidTag as exc:
            reason = "the result was sealed under another ENLARGER_SECRET_KEY, and can't be read"
            raise ResultForgotten(reason) from exc

    def _cipher(self) -> AESGCM:
        return AESGCM(self._digest("seal", ""))

    def _digest(self, purpose: str, text: str) -> bytes:
        """Return 32 bytes that nobody without the key can tell; each purpose has its own."""
        own = hmac.digest(self.key, purpose.encode(), hashlib.sha256)
        return hmac.digest(own, text.encode(), hashlib.sha256)
