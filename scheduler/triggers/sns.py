"""Messages of Amazon SNS over HTTP: who sent them, and that nobody changed them.

Anybody can have SNS sign messages, of a topic of their own. So the operator names the topics, and
the certificate is fetched only from the host that signs for the topic's region.

Source: Amazon SNS developer guide, "Verifying the signatures of Amazon SNS messages".
"""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509 import Certificate, load_pem_x509_certificate
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scheduler.errors import EventRefused

NOTIFICATION = "Notification"
CONFIRMATION = "SubscriptionConfirmation"
FAREWELL = "UnsubscribeConfirmation"
ARN = re.compile(r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2}(?:-[a-z]+)+-[0-9]+):[0-9]{12}:[\w.-]+")
CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[0-9a-zA-Z]+\.pem")
HASHES = {"1": hashes.SHA1, "2": hashes.SHA256}
"""By the version of the signature; 1 is what a topic has unless it is told otherwise."""
SIGNED = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: (
        "Message",
        "MessageId",
        "SubscribeURL",
        "Timestamp",
        "Token",
        "TopicArn",
        "Type",
    ),
}
SIGNED[FAREWELL] = SIGNED[CONFIRMATION]


class _Envelope(BaseModel):
    model_config = ConfigDict(extra="allow", frozen=True)

    type: str = Field(alias="Type")
    topic: str = Field(alias="TopicArn")
    message: str = Field(alias="Message")
    subscribe_url: str | None = Field(default=None, alias="SubscribeURL")
    signature_version: str = Field(alias="SignatureVersion")
    signature: str = Field(alias="Signature")
    certificate_url: str = Field(alias="SigningCertURL")

    def signed_text(self) -> bytes:
        """Return what the signature is of: names and values of some fields, a line each."""
        values = self.model_dump(by_alias=True)
        present = [name for name in SIGNED[self.type] if values.get(name) is not None]
        return "".join(f"{name}\n{values[name]}\n" for name in present).encode()


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A message that one of the operator's topics sent.

    Attributes:
        type: `NOTIFICATION`, `CONFIRMATION` or `FAREWELL`.
        topic: The topic's ARN.
        message: What a notification carries.
        subscribe_url: What to fetch to confirm a subscription, on the topic's own host.
    """

    type: str
    topic: str
    message: str
    subscribe_url: str | None


def verified(
    body: bytes, *, topics: Sequence[str], fetch: Callable[[str], bytes], now: datetime
) -> Verified:
    """Return a message whose signature is that of an allowed topic.

    Args:
        body: What was sent.
        topics: The ARNs of the allowed topics.
        fetch: Returns a certificate, as PEM, by its URL; what it raises passes through.
        now: The certificate must be valid by now.

    Raises:
        EventRefused: It is no such message, of another topic, or badly signed.
    """
    envelope = _parsed(body)
    if envelope.topic not in topics:
        reason = f"TopicArn: {envelope.topic!r} is not in ENLARGER_EVENT_TOPICS"
        raise EventRefused(reason, field="TopicArn")
    host = signing_host(envelope.topic)
    _check_url(envelope.certificate_url, host, "SigningCertURL")
    if not CERTIFICATE_PATH.fullmatch(urlsplit(envelope.certificate_url).path):
        reason = f"SigningCertURL: {envelope.certificate_url!r} names no certificate of SNS"
        raise EventRefused(reason, field="SigningCertURL")
    _check_signature(envelope, _certificate(fetch(envelope.certificate_url), now))
    if envelope.type == CONFIRMATION:
        _check_url(envelope.subscribe_url or "", host, "SubscribeURL")
    return Verified(
        type=envelope.type,
        topic=envelope.topic,
        message=envelope.message,
        subscribe_url=envelope.subscribe_url,
    )


def signing_host(topic: str) -> str:
    """Return the host that a topic's certificates and confirmations are on.

    Raises:
        EventRefused: This is no topic's ARN.
    """
    found = ARN.fullmatch(topic)
    if found is None:
        raise EventRefused(f"TopicArn: {topic!r} is no ARN of a topic", field="TopicArn")
    return f"sns.{found[2]}.amazonaws.com{'.cn' if found[1] == 'aws-cn' else ''}"


def _parsed(body: bytes) -> _Envelope:
    try:
        envelope = _Envelope.model_validate_json(body)
    except ValidationError as exc:
        error = exc.errors(include_url=False)[0]
        reason = f"{'.'.join(map(str, error['loc'])) or 'body'}: {error['msg']}"
        raise EventRefused(reason) from exc
    if envelope.type not in SIGNED:
        raise EventRefused(f"Type: {envelope.type!r} is none of {', '.join(SIGNED)}", field="Type")
    return envelope


def _check_url(url: str, host: str, field: str) -> None:
    try:
        parts = urlsplit(url)
        allowed = (parts.scheme, parts.netloc) == ("https", host)
    except ValueError:
        allowed = False
    if not allowed:
        raise EventRefused(f"{field}: {url!r} is not on https://{host}", field=field)


def _certificate(pem: bytes, now: datetime) -> Certificate:
    try:
        found = load_pem_x509_certificate(pem)
    except ValueError as exc:
        reason = f"SigningCertURL: what is there is no certificate: {exc}"
        raise EventRefused(reason, field="SigningCertURL") from exc
    if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
        reason = f"SigningCertURL: the certificate is not valid at {now:%Y-%m-%d %H:%M}"
        raise EventRefused(reason, field="SigningCertURL")
    return found


def _check_signature(envelope: _Envelope, certificate: Certificate) -> None:
    algorithm = HASHES.get(envelope.signature_version)
    key = certificate.public_key()
    if algorithm is None or not isinstance(key, RSAPublicKey):
        reason = f"SignatureVersion: {envelope.signature_version!r} is none of {', '.join(HASHES)}"
        raise EventRefused(reason, field="SignatureVersion")
    try:
        signature = base64.b64decode(envelope.signature, validate=True)
        key.verify(signature, envelope.signed_text(), PKCS1v15(), algorithm())
    except (InvalidSignature, binascii.Error) as exc:
        reason = "Signature: it is not that of this message by this certificate"
        raise EventRefused(reason, field="Signature") from exc
