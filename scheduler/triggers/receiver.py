"""Bucket events over HTTP: from SNS, EventBridge, MinIO and Ceph. Nobody else is let in.

The sender is answered once the ledger has the jobs; anything but success makes it send again. What
can't be understood is kept with the reason, and answered with success: the same message would
otherwise come for ever, and hold up those behind it.
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache

import structlog

from scheduler.errors import EventInvalid, EventRefused
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from scheduler.triggers import documents, sns
from scheduler.triggers.taking import Message, take

log = structlog.get_logger()

SNS_TYPE = "x-amz-sns-message-type"
SNS_RAW = "x-amz-sns-rawdelivery"
"""Set where a subscription sends the bare message: that carries no signature."""
CERTIFICATES = 16
"""SNS has one for each region, and changes it now and then."""


class Receiver:
    """Takes one request at a time; any thread may ask.

    Args:
        ledger: Where the jobs go.
        settings: Who is let in.
        fetch: Returns what an https URL of AWS holds.
    """

    def __init__(self, ledger: Ledger, settings: Settings, fetch: Callable[[str], bytes]) -> None:
        self._ledger = ledger
        self._topics = settings.event_topics
        self._token = settings.event_token
        self._fetch = fetch
        self._certificate = lru_cache(CERTIFICATES)(fetch)

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """Take what a request tells of; return how many jobs that made.

        Args:
            headers: By their names in lower case.
            body: As it was sent.

        Raises:
            EventRefused: Whoever sends this is not let in.
            LedgerUnavailable: Nothing happened; it has to be sent again.
            StorageUnavailable: Likewise, since AWS does not answer.
        """
        if SNS_TYPE in headers and headers.get(SNS_RAW) != "true":
            return self._receive_signed(body)
        text = body.decode(errors="backslashreplace")
        self._check_token(headers, text)
        return self._take(text, source="http")

    def _receive_signed(self, body: bytes) -> int:
        message = sns.verified(
            body, topics=self._topics, fetch=self._certificate, now=datetime.now(UTC)
        )
        if message.type == sns.CONFIRMATION:
            assert message.subscribe_url is not None, "verified"
            self._fetch(message.subscribe_url)
            log.info("topic.subscribed", topic=message.topic)
            return 0
        if message.type == sns.FAREWELL:
            log.warning("topic.unsubscribed", topic=message.topic)
            return 0
        return self._take(message.message, source=message.topic)

    def _take(self, text: str, *, source: str) -> int:
        made = take(self._ledger, [Message(text, source)])
        log.info("events.received", source=source, jobs=made)
        return made

    def _check_token(self, headers: Mapping[str, str], text: str) -> None:
        """Let in who knows the token.

        Raises:
            EventRefused: There is none, or it is another.
        """
        if self._token is None:
            reason = "Authorization: set ENLARGER_EVENT_TOKEN, or ENLARGER_EVENT_TOPICS for SNS"
            raise EventRefused(reason, field="Authorization")
        expected = self._token.get_secret_value()
        told = _tokens(headers.get("authorization", "")) or _opaque(text)
        if not told or not all(_is_equal(each, expected) for each in told):
            reason = (
                "Authorization: send ENLARGER_EVENT_TOKEN as a Bearer token or as the password of "
                "Basic authentication, or have Ceph send it as OpaqueData"
            )
            raise EventRefused(reason, field="Authorization")


def _tokens(authorization: str) -> list[str]:
    """Return the token of a header: of a Bearer, or the password of a user."""
    scheme, _, rest = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return [rest.strip()]
    if scheme.lower() != "basic":
        return []
    try:
        user = base64.b64decode(rest, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return []
    return [user.partition(":")[2]]


def _opaque(text: str) -> list[str]:
    """Return what Ceph, which sends no headers, was told to put into each record."""
    try:
        return list(documents.read(text).opaque)
    except EventInvalid:
        return []


def _is_equal(one: str, other: str) -> bool:
    """Compare in a time that tells nothing of where they differ."""
    return hmac.compare_digest(one.encode(errors="replace"), other.encode())
