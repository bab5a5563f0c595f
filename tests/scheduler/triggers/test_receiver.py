import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.serialization import Encoding
from pydantic import SecretStr

from scheduler.errors import EventRefused, LedgerUnavailable, StorageUnavailable
from scheduler.ledger import triggers
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from scheduler.triggers.receiver import Receiver
from tests.scheduler.triggers.rules import jobs_of, save_rule

DOCUMENTS = Path(__file__).parents[2] / "data" / "events"
TOKEN = "the-token-of-the-topic"
TOPIC = "arn:aws:sns:eu-central-1:123456789012:photos"
HOST = "https://sns.eu-central-1.amazonaws.com"
CERTIFICATE = f"{HOST}/SimpleNotificationService-0a1b2c.pem"
SUBSCRIBE = f"{HOST}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token=t"
SNS = {"x-amz-sns-message-type": "any"}
FIELDS = (
    "Message",
    "MessageId",
    "SubscribeURL",
    "Subject",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
)
"""All that may be signed, in the order of their names."""


class Aws:
    """What AWS would answer, with a key of the test's own."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.fetched: list[str] = []
        self.begins = datetime.now(UTC) - timedelta(days=1)

    def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        if url == SUBSCRIBE:
            return b"<ConfirmSubscriptionResponse/>"
        assert url == CERTIFICATE
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(self.begins)
            .not_valid_after(self.begins + timedelta(days=2))
            .sign(self.key, hashes.SHA256())
        )
        return made.public_bytes(Encoding.PEM)

    def signed(self, *, version: str = "2", **fields: str) -> dict[str, str]:
        """Return a message as SNS sends it."""
        given = {
            "Type": "Notification",
            "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
            "TopicArn": TOPIC,
            "Message": (DOCUMENTS / "s3.json").read_text(),
            "Timestamp": "2026-11-24T09:30:01.001Z",
        } | fields
        text = "".join(f"{name}\n{given[name]}\n" for name in FIELDS if name in given)
        algorithm = hashes.SHA1() if version == "1" else hashes.SHA256()
        signature = self.key.sign(text.encode(), PKCS1v15(), algorithm)
        return given | {
            "SignatureVersion": version,
            "Signature": base64.b64encode(signature).decode(),
            "SigningCertURL": CERTIFICATE,
            "UnsubscribeURL": f"{HOST}/?Action=Unsubscribe",
        }


@pytest.fixture(scope="module")
def aws() -> Aws:
    return Aws()


@pytest.fixture
def receiver(ledger: Ledger, settings: Settings, aws: Aws) -> Receiver:
    allowed = {"event_token": SecretStr(TOKEN), "event_topics": (TOPIC,)}
    aws.fetched.clear()
    return Receiver(ledger, settings.model_copy(update=allowed), aws.fetch)


def body_of(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message).encode()


def document(name: str) -> bytes:
    return (DOCUMENTS / f"{name}.json").read_bytes()


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(user.encode()).decode()


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("minio", {"authorization": f"Bearer {TOKEN}"}),
        ("eventbridge", {"authorization": basic(f"enlarger:{TOKEN}")}),
        ("s3", {**SNS, "x-amz-sns-rawdelivery": "true", "authorization": basic(f"sns:{TOKEN}")}),
        ("ceph", {}),
    ],
)
def test_who_knows_the_token_is_let_in_and_makes_one_job(
    ledger: Ledger, receiver: Receiver, name: str, headers: dict[str, str]
) -> None:
    save_rule(ledger)

    made = [receiver.receive(headers, document(name)) for _ in range(2)]

    assert made == [1, 0]
    assert jobs_of(ledger)[0].source == "s3://photos/in/red flower (café)+1.jpg"


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        ("minio", {}),
        ("minio", {"authorization": "Bearer wrong"}),
        ("minio", {"authorization": f"Token {TOKEN}"}),
        ("minio", {"authorization": "Basic ???"}),
        ("minio", {"authorization": basic(TOKEN)}),
        ("ceph", {"authorization": "Bearer wrong"}),
        ("s3", {"x-amz-sns-rawdelivery": "true"}),
    ],
)
def test_who_does_not_is_refused(
    ledger: Ledger, receiver: Receiver, name: str, headers: dict[str, str]
) -> None:
    save_rule(ledger)

    with pytest.raises(EventRefused, match="Bearer token"):
        receiver.receive(headers, document(name))

    assert jobs_of(ledger) == []


def test_every_record_of_ceph_has_to_prove_itself(ledger: Ledger, receiver: Receiver) -> None:
    good = json.loads(document("ceph"))["Records"][0]
    records = [good, {**good, "opaqueData": "wrong"}]

    for some in (records, [], [{**good, "opaqueData": ""}]):
        with pytest.raises(EventRefused):
            receiver.receive({}, body_of({"Records": some}))


def test_without_a_token_nobody_is_let_in(ledger: Ledger, settings: Settings, aws: Aws) -> None:
    closed = Receiver(ledger, settings, aws.fetch)

    with pytest.raises(EventRefused, match="set ENLARGER_EVENT_TOKEN"):
        closed.receive({"authorization": "Bearer "}, document("minio"))
    with pytest.raises(EventRefused, match="ENLARGER_EVENT_TOPICS"):
        closed.receive(SNS, body_of(aws.signed()))


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_signed_notification_makes_a_job_and_its_certificate_is_fetched_once(
    ledger: Ledger, receiver: Receiver, aws: Aws, version: str
) -> None:
    save_rule(ledger)
    message = aws.signed(version=version, Subject="Amazon S3 Notification")

    made = [receiver.receive(SNS, body_of(message)) for _ in range(2)]

    assert made == [1, 0]
    assert aws.fetched == [CERTIFICATE]


def test_a_subscription_is_confirmed_on_the_topics_own_host(receiver: Receiver, aws: Aws) -> None:
    message = aws.signed(Type="SubscriptionConfirmation", Token="t", SubscribeURL=SUBSCRIBE)

    receiver.receive(SNS, body_of(message))

    assert aws.fetched == [CERTIFICATE, SUBSCRIBE]


@pytest.mark.parametrize(
    "changes",
    [
        {"Message": "another"},
        {"Subject": "added"},
        {"MessageId": "another"},
        {"Signature": base64.b64encode(b"0" * 256).decode()},
        {"Signature": "no base64"},
        {"SignatureVersion": "3"},
        {"Type": "Other"},
        {"Type": "SubscriptionConfirmation"},
        {"TopicArn": "arn:aws:sns:eu-central-1:999999999999:photos"},
        {"SigningCertURL": "http://sns.eu-central-1.amazonaws.com/SimpleNotificationService-a.pem"},
        {"SigningCertURL": "https://sns.eu-central-1.amazonaws.com.evil.org/a.pem"},
        {"SigningCertURL": "https://sns.eu-central-1.amazonaws.com@evil.org/a.pem"},
        {"SigningCertURL": "https://evil.org/SimpleNotificationService-0a1b2c.pem"},
        {
            "SigningCertURL": "https://sns.s3-us-west-2.amazonaws.com/SimpleNotificationService-a.pem"
        },
        {"SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem"},
        {"SigningCertURL": f"{HOST}/?Action=Publish&x=.pem"},
        {"SigningCertURL": "https://[::1"},
    ],
)
def test_a_forged_notification_is_refused(
    ledger: Ledger, receiver: Receiver, aws: Aws, changes: dict[str, str]
) -> None:
    save_rule(ledger)

    with pytest.raises(EventRefused):
        receiver.receive(SNS, body_of(aws.signed() | changes))

    assert jobs_of(ledger) == []
    assert set(aws.fetched) <= {CERTIFICATE}


def test_a_confirmation_that_leads_elsewhere_is_not_followed(receiver: Receiver, aws: Aws) -> None:
    for url in ("https://evil.org/", "http://169.254.169.254/", SUBSCRIBE.replace("https", "http")):
        message = aws.signed(Type="SubscriptionConfirmation", Token="t", SubscribeURL=url)
        with pytest.raises(EventRefused, match="SubscribeURL"):
            receiver.receive(SNS, body_of(message))

    assert aws.fetched == [CERTIFICATE]


def test_a_certificate_that_has_expired_is_refused(receiver: Receiver, aws: Aws) -> None:
    begins, aws.begins = aws.begins, aws.begins - timedelta(days=9)
    try:
        with pytest.raises(EventRefused, match="not valid at"):
            receiver.receive(SNS, body_of(aws.signed()))
    finally:
        aws.begins = begins


def test_while_aws_or_the_ledger_is_away_the_sender_has_to_try_again(
    settings: Settings, aws: Aws
) -> None:
    nowhere = {
        "event_token": SecretStr(TOKEN),
        "event_topics": (TOPIC,),
        "database_url": SecretStr("postgresql://u:p@127.0.0.1:1/x"),
    }
    away = Ledger(settings.model_copy(update=nowhere))

    def unreachable(url: str) -> bytes:
        raise StorageUnavailable(url)

    with pytest.raises(StorageUnavailable):
        Receiver(away, settings.model_copy(update=nowhere), unreachable).receive(
            SNS, body_of(aws.signed())
        )
    with pytest.raises(LedgerUnavailable):
        Receiver(away, settings.model_copy(update=nowhere), aws.fetch).receive(
            SNS, body_of(aws.signed())
        )
    away.close()


def test_poison_from_a_known_sender_is_buried_and_acknowledged(
    ledger: Ledger, receiver: Receiver
) -> None:
    known = {"authorization": f"Bearer {TOKEN}"}

    assert receiver.receive(known, b"\xff\x00 not json") == 0
    bad = json.loads(document("ceph"))
    bad["Records"][0]["s3"]["object"]["eTag"] = ""
    assert receiver.receive({}, body_of(bad)) == 0

    with ledger.begin() as session:
        dead = triggers.dead(session, limit=9)
    assert [each.reason[:5] for each in dead] == ["eTag:", "event"]
    assert all(TOKEN not in each.body for each in dead)
