"""What is sent, how it is signed and when it is tried again; no server is needed for most of it."""

import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from jsonschema import Draft202012Validator
from sqlalchemy import text
from standardwebhooks import Webhook, WebhookVerificationError

from scheduler.errors import StorageUnavailable
from scheduler.ledger import jobs, webhook_keys
from scheduler.ledger.deliveries import Key as DeliveryKey
from scheduler.ledger.deliveries import Taken
from scheduler.ledger.jobs import Ending
from scheduler.ledger.outbox import Noted
from scheduler.ledger.rows import RowRecord
from scheduler.ledger.session import Ledger
from scheduler.ledger.subscriptions import EVENTS, subscribe
from scheduler.ledger.tables import JobState
from scheduler.ledger.webhook_keys import Key
from scheduler.ledger.webhook_tables import KeyKind, Style
from scheduler.loop import settle
from scheduler.settings import Settings
from scheduler.webhooks import envelope, fal, schedule, signing
from scheduler.webhooks.expansion import Expansion
from scheduler.webhooks.lanes import Lane
from scheduler.webhooks.schedule import Answer, Verdict, judge, wait_s
from scheduler.webhooks.signatory import Signatory
from tests.factories import make_batch, make_rejected, make_row
from tests.scheduler.test_jobs import queue

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
JOB = UUID("019ab1c2-0000-7000-8000-000000000001")
BATCH = UUID("019ab1c2-0000-7000-8000-0000000000ff")
BODY = b'{"a": "\xc3\xa4"}'


def key(number: int, kind: KeyKind, *, signs: bool = True) -> Key:
    return Key(
        id=number,
        kind=kind,
        subscription_id=None,
        secret=bytes([number]) * 32,
        created_at=NOW,
        signs_from=NOW,
        expires_at=None,
        signs=signs,
    )


def event(type_: str) -> Noted:
    return Noted(event_id=7, type=type_, batch_id=BATCH, job_id=JOB, at=NOW)


def row(**overrides: Any) -> RowRecord:
    fields: dict[str, Any] = {
        "id": JOB,
        "line": 1,
        "state": JobState.SUCCEEDED,
        "source": "s3://in/a.png",
        "source_version": None,
        "source_alternative": None,
        "destination": "s3://out/a.png",
        "custom_id": "mine",
        "endpoint": "enlarger/lanczos",
        "arguments": {},
        "passthrough": {"k": [1, None]},
        "seed": 7,
        "failures": 0,
        "started_at": NOW,
        "ended_at": NOW,
        "outcome": {
            "objects": [{"address": "s3://out/a.png", "size_bytes": 3, "unknown": 1}],
            "body": {"image": {"url": "s3://out/a.png"}, "seed": 7},
        },
        "error": None,
    }
    return RowRecord(**fields | overrides)


FAILED = {
    "code": "image_unreadable",
    "kind": "program",
    "message": "image_url: no image",
    "field": "image_url",
    "traceback": "secret",
}


def test_every_message_follows_the_schema(ledger: Ledger, settings: Settings) -> None:
    """Those of a real batch that goes through everything, as the sender writes them."""
    with ledger.begin() as session:
        subscribe(session, url="https://consumer.example/", events=EVENTS)
    batch = make_batch(ledger, [make_row(1), make_row(2), make_rejected(3)])
    tickets = queue(ledger, batch)
    good = json.dumps({"objects": [{"address": "s3://b/k"}], "body": {"seed": 1}})
    endings = [
        Ending(ticket=tickets[0], state=JobState.SUCCEEDED, outcome=good),
        Ending(ticket=tickets[1], state=JobState.FAILED, error=json.dumps(FAILED)),
    ]
    with ledger.begin() as session:
        jobs.finish(session, endings, from_states=(JobState.QUEUED,))
    settle(ledger)
    with ledger.begin() as session:
        session.execute(
            text(
                "insert into events (type, batch_id) select unnest(cast(:types as text[])), :batch"
            ),
            {"types": [each for each in EVENTS if each.startswith("batch")], "batch": batch},
        )
        Expansion(ledger, settings).step({}, 0.0, session)
        bodies = list(session.scalars(text("select body from deliveries order by event_id")))

    validator = Draft202012Validator(envelope.schema())
    messages = [json.loads(body) for body in bodies]
    for message in [*messages, json.loads(envelope.sample(NOW, "evt_test"))]:
        validator.validate(message)
    ends = {m["type"]: m["data"] for m in messages}
    assert ends["job.failed"]["error"]["message"] == "image_url: no image"
    assert ends["job.succeeded"]["objects"][0]["address"] == "s3://b/k"
    assert ends["batch.finished"]["succeeded"] == ends["batch.finished"]["rejected"] == 1
    assert ends["batch.reported"]["report"]["results"] == "file:///results/results.jsonl"
    assert "secret" not in "".join(bodies)
    assert {m["type"] for m in messages} >= {*EVENTS} - {"job.cancelled"}


def test_the_schema_refuses_what_is_no_message() -> None:
    validator = Draft202012Validator(envelope.schema())
    message = json.loads(envelope.of_job(event("job.succeeded"), row()))

    broken = [message | {"type": "job.done"}, message | {"data": {}}, {"type": "job.failed"}]

    assert validator.is_valid(message)
    assert [validator.is_valid(each) for each in broken] == [False] * 3


def body_of(found: RowRecord) -> dict[str, Any]:
    return (found.outcome or {})["body"]


def body_gone(_found: RowRecord) -> dict[str, Any]:
    reason = "the store is away"
    raise StorageUnavailable(reason)


def test_fal_is_told_the_result() -> None:
    told = json.loads(fal.of_job(event("job.succeeded"), row(), body_of))

    assert told == {
        "request_id": str(JOB),
        "gateway_request_id": str(JOB),
        "status": "OK",
        "error": None,
        "payload": {"image": {"url": "s3://out/a.png"}, "seed": 7},
    }


def test_fal_is_told_what_went_wrong() -> None:
    failed = json.loads(fal.of_job(event("job.failed"), row(error=FAILED), body_of))
    cancelled = json.loads(fal.of_job(event("job.cancelled"), row(), body_of))
    lost = json.loads(fal.of_job(event("job.succeeded"), None, body_of))
    unreadable = json.loads(fal.of_job(event("job.succeeded"), row(), body_gone))

    assert (failed["status"], failed["error"]) == ("ERROR", "Invalid status code: 422")
    assert failed["payload"]["detail"][0]["loc"] == ["body", "image_url"]
    assert (cancelled["status"], cancelled["error"]) == ("ERROR", "The request was cancelled")
    assert cancelled["payload"]["error_type"] == "client_cancelled"
    assert (lost["payload"], lost["payload_error"]) == (None, "the result is no longer kept")
    assert (unreadable["status"], unreadable["payload_error"]) == ("OK", "the store is away")


def test_the_standards_own_library_verifies_v1_and_nothing_else_than_what_was_sent() -> None:
    hmac = key(1, KeyKind.HMAC)
    at = int(datetime.now(UTC).timestamp())
    headers = signing.standard(
        [hmac, key(2, KeyKind.ED25519)], message_id="evt_1", at=at, body=BODY
    )

    verifier = Webhook(signing.spelt(hmac))
    assert verifier.verify(BODY, headers) == {"a": "ä"}
    for changed in (
        headers | {"webhook-id": "evt_2"},
        headers | {"webhook-timestamp": str(at + 1)},
        headers | {"webhook-signature": "v1,AAAA"},
    ):
        with pytest.raises(WebhookVerificationError):
            verifier.verify(BODY, changed)
    with pytest.raises(WebhookVerificationError):
        verifier.verify(BODY + b" ", headers)


@pytest.mark.parametrize(
    ("skew_s", "accepted"), [(-301, False), (-290, True), (290, True), (301, False)]
)
def test_a_recorded_message_and_a_clock_that_is_wrong_are_refused(
    skew_s: int, accepted: bool
) -> None:
    hmac = key(1, KeyKind.HMAC)
    at = int(datetime.now(UTC).timestamp()) + skew_s
    headers = signing.standard([hmac], message_id="evt_1", at=at, body=BODY)

    refused = nullcontext() if accepted else pytest.raises(WebhookVerificationError)
    with refused:
        Webhook(signing.spelt(hmac)).verify(BODY, headers)


def test_v1a_and_fal_are_verified_by_the_published_keys() -> None:
    old, new = key(1, KeyKind.ED25519), key(2, KeyKind.ED25519, signs=False)
    both = signing.standard([old, new], message_id="evt_1", at=5, body=BODY)["webhook-signature"]
    headers = signing.fal([old, new], request_id="r", user_id="u", at=5, body=BODY)

    published = [public_of(each) for each in signing.jwks([old, new, key(3, KeyKind.HMAC)])["keys"]]
    signatures = [base64.b64decode(each.split(",")[1]) for each in both.split()]
    assert len(published) == len(signatures) == 2
    for public, signature in zip(published, signatures, strict=True):
        public.verify(signature, b"evt_1.5." + BODY)
    digest = hashlib.sha256(BODY).hexdigest()
    signed = f"r\nu\n5\n{digest}".encode()
    signature = bytes.fromhex(headers["X-Fal-Webhook-Signature"])
    published[0].verify(signature, signed)  # the newer one is published, and does not sign yet
    with pytest.raises(InvalidSignature):
        published[1].verify(signature, signed)


def public_of(entry: dict[str, str]) -> Ed25519PublicKey:
    assert (entry["kty"], entry["crv"], entry["alg"], entry["use"]) == (
        "OKP",
        "Ed25519",
        "EdDSA",
        "sig",
    )
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(entry["x"] + "="))


def test_a_rotated_key_goes_on_until_everybody_had_time(ledger: Ledger) -> None:
    with ledger.begin() as session:
        webhook_keys.ensure(session)
        webhook_keys.ensure(session)
        webhook_keys.rotate(session, KeyKind.ED25519, overlap=timedelta(hours=25))
        webhook_keys.rotate(session, KeyKind.HMAC, overlap=timedelta(0))
    with ledger.begin() as session:
        valid = webhook_keys.valid(session)

    found = [(each.kind, each.signs, each.expires_at is None) for each in valid]
    assert sorted(found) == [
        (KeyKind.ED25519, False, True),
        (KeyKind.ED25519, True, False),
        (KeyKind.HMAC, True, True),
    ]
    old = next(each for each in valid if each.expires_at is not None)
    assert 49 < (old.expires_at - old.created_at) / timedelta(hours=1) < 51


def test_a_key_that_leaked_goes_at_once_and_so_do_older_ones(ledger: Ledger) -> None:
    with ledger.begin() as session:
        webhook_keys.ensure(session)
        webhook_keys.rotate(session, KeyKind.ED25519, overlap=timedelta(hours=25))
        webhook_keys.rotate(session, KeyKind.ED25519, overlap=timedelta(0))
    with ledger.begin() as session:
        valid = [key for key in webhook_keys.valid(session) if key.kind is KeyKind.ED25519]

    assert [(key.signs, key.expires_at) for key in valid] == [(True, None)]


def test_an_event_whose_message_cannot_be_made_is_told_without_it(
    ledger: Ledger, settings: Settings
) -> None:
    with ledger.begin() as session:
        subscribe(session, url="https://consumer.example/", events=["job.failed"])
    batch = make_batch(ledger, 2)
    errors = ['{"code": 7}', json.dumps(FAILED)]
    endings = [
        Ending(ticket=ticket, state=JobState.FAILED, error=error)
        for ticket, error in zip(queue(ledger, batch), errors, strict=True)
    ]
    with ledger.begin() as session:
        jobs.finish(session, endings, from_states=(JobState.QUEUED,))
        Expansion(ledger, settings).step({}, 0.0, session)
        bodies = session.scalars(text("select body from deliveries order by job_id"))
        told = [json.loads(body)["data"] for body in bodies]

    assert [(each["state"], each["line"]) for each in told] == [("failed", None), ("failed", 2)]
    assert told[1]["error"]["code"] == "image_unreadable"


def test_an_owner_with_a_line_end_breaks_no_header() -> None:
    signatory = Signatory([key(1, KeyKind.ED25519)])
    taken = Taken(
        key=DeliveryKey(BATCH, 7, JOB, 1),
        job_id=JOB,
        origin="",
        url="",
        style=Style.FAL,
        owner="ann\r\nX-Other: 1",
        failures=0,
        body="",
    )

    assert signatory.headers(taken, b"")["X-Fal-Webhook-User-Id"] == "ann X-Other: 1"


NONE: Callable[[], float] = lambda: 0.0  # noqa: E731


@pytest.mark.parametrize(
    ("style", "tries", "within_h", "first_s"), [(Style.OURS, 9, 24, 60), (Style.FAL, 10, 2, 60)]
)
def test_schedules_last_as_long_as_they_promise(
    style: Style, tries: int, within_h: float, first_s: float
) -> None:
    no = Answer(status=500, text="")
    waits = [wait_s(style, failures, no, now=NOW, random=NONE) for failures in range(1, tries)]

    assert sum(waits) >= within_h * 3600
    assert waits[0] * 1.2 < first_s
    assert wait_s(style, tries, no, now=NOW, random=NONE) is None
    assert wait_s(style, 1, no, now=NOW, random=lambda: 0.999) == pytest.approx(
        waits[0] * 1.2, 0.01
    )


@pytest.mark.parametrize(
    ("retry_after", "expected"),
    [
        ("3600", 3600.0),
        ("Tue, 24 Nov 2026 13:00:00 GMT", 3600.0),
        ("Tue, 24 Nov 2026 13:00:00", 3600.0),
        ("1", 5.0),
        ("999999999999999999", schedule.LONGEST_WAIT_S),
        ("-5", 5.0),
        ("soon", 5.0),
        ("Tue, 24 Nov 1926 13:00:00 GMT", 5.0),
        ("\N{SUPERSCRIPT TWO}", 5.0),
    ],
)
def test_retry_after_is_read_in_both_forms_and_bounded(retry_after: str, expected: float) -> None:
    busy = Answer(status=503, text="", retry_after=retry_after)

    assert wait_s(Style.OURS, 1, busy, now=NOW, random=NONE) == expected


@pytest.mark.parametrize(
    ("status", "ours", "fals"),
    [
        (200, Verdict.DELIVERED, Verdict.DELIVERED),
        (299, Verdict.DELIVERED, Verdict.DELIVERED),
        (301, Verdict.FAILED, Verdict.REFUSED),
        (404, Verdict.FAILED, Verdict.FAILED),
        (410, Verdict.GONE, Verdict.GONE),
        (500, Verdict.FAILED, Verdict.FAILED),
        (None, Verdict.FAILED, Verdict.FAILED),
    ],
)
def test_an_answer_is_judged_by_its_status(status: int, ours: Verdict, fals: Verdict) -> None:
    answer = Answer(status=status, text="")

    assert (judge(Style.OURS, answer), judge(Style.FAL, answer)) == (ours, fals)


@pytest.mark.parametrize(("seconds", "room"), [(0.002, 1000), (0.1, 80), (5.0, 32)])
def test_what_is_taken_ahead_is_what_half_a_second_sends(seconds: float, room: int) -> None:
    lane = Lane(origin="https://a.example", most=16)
    for _ in range(200):
        lane.note(Answer(status=200, text="", seconds=seconds), now=0.0)

    assert lane.room(0.0) == pytest.approx(room, rel=0.05)
