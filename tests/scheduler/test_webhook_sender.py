import asyncio
import base64
import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from ipaddress import ip_network
from uuid import UUID

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from sqlalchemy import text
from standardwebhooks import Webhook

from scheduler import guard
from scheduler.errors import SettingsInvalid
from scheduler.ledger import consumers, delivery_records, periods, subscriptions, webhook_keys
from scheduler.ledger.delivery_records import Choice, Record
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.subscriptions import subscribe
from scheduler.ledger.tables import JobState
from scheduler.ledger.webhook_tables import DeliveryState, KeyKind, Style, SubscriptionState
from scheduler.settings import Settings
from scheduler.webhooks import signing
from scheduler.webhooks.client import Client
from scheduler.webhooks.process import sending
from tests.consumer import Consumer, consumer
from tests.factories import make_batch
from tests.faulty_http import Faulty, Request
from tests.processes import eventually
from tests.scheduler.test_guard import ADDRESSES
from tests.scheduler.test_subscriptions import end

HOUR = timedelta(hours=1)
LOCAL = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Settings of a sender that may reach this machine, and needs no Redis."""
    changes = {"webhook_allow": LOCAL, "redis_url": None, "grace_s": 5}
    return settings.model_copy(update=changes)


@pytest.fixture
def hasty(quick: Settings) -> Settings:
    """Settings of one that waits briefly for an answer."""
    return quick.model_copy(update={"webhook_timeout_s": 1.0})


@contextmanager
def sender(settings: Settings, count: int = 1) -> Iterator[None]:
    stop = threading.Event()
    if count == 0:
        yield
        return
    with sending(settings, stop), sender(settings, count - 1):
        yield
    assert not stop.is_set(), "it ended in a bug"


def listed(ledger: Ledger, **choice: object) -> list[Record]:
    with ledger.begin() as session:
        return delivery_records.listed(session, Choice(**choice), limit=1000)


def states(ledger: Ledger) -> list[str]:
    return sorted(str(each.state) for each in listed(ledger))


def told(ledger: Ledger, *expected: str) -> Callable[[], bool]:
    return lambda: states(ledger) == sorted(expected)


def make_due(ledger: Ledger) -> None:
    """Let the time of the next try come."""
    with ledger.begin() as session:
        session.execute(text("update deliveries set due_at = now() where state = 'due'"))


def hook(ledger: Ledger, url: str, batch: UUID, **rest: object) -> UUID:
    with ledger.begin() as session:
        return subscribe(
            session, url=url, **({"batch_id": batch, "events": ["job.succeeded"]} | rest)
        )


def test_every_subscriber_is_told_in_its_own_shape_and_can_verify_it(
    ledger: Ledger, quick: Settings
) -> None:
    batch = make_batch(ledger, 1, owner="ann")
    job = periods.job_id(batch, 1)
    with consumer() as ours, consumer() as fals, sender(quick):
        with ledger.begin() as session:
            own = subscribe(session, url=ours.url, events=["job.succeeded"])
            webhook_keys.add(session, KeyKind.HMAC, subscription_id=own)
            subscribe(session, url=fals.url, job_id=job, style=Style.FAL)
        end(ledger, batch)
        eventually(told(ledger, "delivered", "delivered"))

    with ledger.begin() as session:
        keys = webhook_keys.valid(session)
    own_key = next(key for key in keys if key.subscription_id == own)
    ours_got, fals_got = ours.received[0], fals.received[0]
    message = Webhook(signing.spelt(own_key)).verify(ours_got.body, ours_got.headers)
    assert (message["type"], message["data"]["job_id"]) == ("job.succeeded", str(job))
    assert message["id"] == ours_got.id
    assert fals_got.json()["request_id"] == str(job)
    verify_fal(fals_got.headers, fals_got.body, signing.jwks(keys))


def verify_fal(headers: dict[str, str], body: bytes, jwks: dict) -> None:
    """Do what fal's page tells receivers to do."""
    names = ("request-id", "user-id", "timestamp")
    parts = [headers[f"x-fal-webhook-{name}"] for name in names]
    assert abs(time.time() - int(parts[2])) < 300
    signed = "\n".join([*parts, hashlib.sha256(body).hexdigest()]).encode()
    x = jwks["keys"][0]["x"]
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)))
    public.verify(bytes.fromhex(headers["x-fal-webhook-signature"]), signed)


def breaks_off(request: Request, _faulty: Faulty) -> None:
    request.handler.close_connection = True


def hangs(_request: Request, faulty: Faulty) -> None:
    faulty.ending.wait(20)


def hangs_after_the_status(request: Request, faulty: Faulty) -> None:
    request.handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    faulty.ending.wait(20)


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (500, "said the consumer"),
        (404, "said the consumer"),
        (302, "said the consumer"),
        (breaks_off, "Disconnected"),
        (hangs, "no answer within 1 s"),
    ],
)
def test_a_failed_try_is_followed_by_another_with_the_same_id_and_bytes(
    ledger: Ledger, hasty: Settings, fault: object, says: str
) -> None:
    batch = make_batch(ledger, 1)
    ailing = True

    def answer(request: Request, faulty: Faulty) -> None:
        if not ailing:
            request.answer(204)
        elif isinstance(fault, int):
            request.answer(fault, b"said the consumer", Location="http://127.0.0.1:1/")
        else:
            fault(request, faulty)

    with consumer(answer) as server, sender(hasty):
        hook(ledger, server.url, batch)
        end(ledger, batch)
        eventually(lambda: any(each.failures for each in listed(ledger)))
        first = listed(ledger)[0]
        ailing = False
        make_due(ledger)
        eventually(told(ledger, "delivered"))

    assert (first.state, first.failures) == (DeliveryState.DUE, 1)
    assert says in first.answer
    assert 4 < (first.due_at - first.tried_at).total_seconds() < 7
    assert len(set(server.ids)) == len({each.body for each in server.received}) == 1


def test_success_is_the_status_even_if_the_answer_never_ends(
    ledger: Ledger, hasty: Settings
) -> None:
    batch = make_batch(ledger, 1)
    with consumer(hangs_after_the_status) as server, sender(hasty):
        hook(ledger, server.url, batch)
        end(ledger, batch)
        eventually(told(ledger, "delivered"))

    assert "broke off" in listed(ledger)[0].answer


def test_fal_gives_up_on_a_redirect(ledger: Ledger, quick: Settings) -> None:
    batch = make_batch(ledger, 1)
    with consumer(301) as server, sender(quick):
        hook(ledger, server.url, batch, job_id=periods.job_id(batch, 1), style=Style.FAL)
        end(ledger, batch)
        eventually(told(ledger, "dead"))

    assert len(server.received) == 1


def test_410_ends_the_subscription_and_resume_begins_it_anew(
    ledger: Ledger, quick: Settings
) -> None:
    first, second = make_batch(ledger, 1), make_batch(ledger, 1)
    with consumer(410) as server, sender(quick):
        with ledger.begin() as session:
            id_ = subscribe(session, url=server.url, events=["job.succeeded"])
        end(ledger, first)
        eventually(told(ledger, "dead"))
        end(ledger, second)
        with ledger.begin() as session:
            found = subscriptions.find(session, str(id_))
            subscriptions.resume(session, id_)

    assert (found.state, found.reason) == ("disabled", "its consumer answered 410 Gone")
    assert len(server.received) == len(listed(ledger)) == 1
    with ledger.begin() as session:
        assert subscriptions.find(session, str(id_)).state == SubscriptionState.ACTIVE


def test_retry_after_is_honoured(ledger: Ledger, quick: Settings) -> None:
    batch = make_batch(ledger, 1)
    busy = lambda request, _: request.answer(429, Retry_After="120")  # noqa: E731
    with consumer(busy) as server, sender(quick):
        hook(ledger, server.url, batch)
        end(ledger, batch)
        eventually(lambda: any(each.failures for each in listed(ledger)))

    found = listed(ledger)[0]
    assert 115 < (found.due_at - found.tried_at).total_seconds() < 125


def test_what_may_not_be_reached_is_not(ledger: Ledger, quick: Settings, monkeypatch) -> None:
    """Neither by its address, nor by a name, nor by a name that is public when asked first."""
    batch = make_batch(ledger, 1)
    closed = quick.model_copy(update={"webhook_allow": ()})
    with consumer() as server, sender(closed):
        port = server.url.split(":")[2].split("/")[0]
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            hook(ledger, f"http://{host}:{port}/", batch)
        end(ledger, batch)
        eventually(lambda: [each.failures for each in listed(ledger)] == [1, 1, 1])

    assert server.received == []
    assert all("not a public address" in each.answer for each in listed(ledger))


def test_it_connects_to_the_address_that_was_checked(
    ledger: Ledger, quick: Settings, monkeypatch
) -> None:
    """A name that leads elsewhere when it is asked for again gains nothing: nobody asks again."""
    batch = make_batch(ledger, 1)
    asked = []

    def changing(host: str, port: int, **_rest: object) -> list[tuple]:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "10.0.0.1"
        return [(2, 1, 6, "", (address, port))]

    monkeypatch.setattr(guard.socket, "getaddrinfo", changing)
    with consumer() as server, sender(quick):
        port = server.url.split(":")[2].split("/")[0]
        hook(ledger, f"http://rebinding.example:{port}/", batch)
        end(ledger, batch)
        eventually(told(ledger, "delivered"))

    assert server.received[0].headers["host"] == f"rebinding.example:{port}"


async def refused(urls: list[str]) -> list[str | None]:
    async with Client(()) as client:
        answers = [await client.post(url, b"{}", {}, timeout_s=5) for url in urls]
    return [each.text if each.status is None else None for each in answers]


def test_no_address_of_the_corpus_is_connected_to() -> None:
    """Even if a URL came here without its spelling having been looked at."""
    urls = [url for url in ADDRESSES if "?" not in url and "#" not in url]

    said = asyncio.run(refused(urls))

    wrong = {
        url: words
        for url, words in zip(urls, said, strict=True)
        if words is None
        or not re.search("not a public address|is not known|four decimal numbers", words)
    }
    assert (len(urls) > 30, wrong) == (True, {})


def test_two_senders_share_the_work(ledger: Ledger, quick: Settings) -> None:
    batch = make_batch(ledger, 100)
    with consumer() as server:
        hook(ledger, server.url, batch)
        end(ledger, batch)
        with sender(quick, 2):
            eventually(told(ledger, *["delivered"] * 100))

    assert len(server.received) == len(set(server.ids)) == 100


def test_a_consumer_that_hangs_holds_up_nobody_else(ledger: Ledger, hasty: Settings) -> None:
    batch = make_batch(ledger, 60)
    with consumer(hangs) as hanging, consumer() as well, sender(hasty):
        hook(ledger, hanging.url, batch)
        hook(ledger, well.url, batch)
        end(ledger, batch)
        eventually(lambda: states(ledger).count("delivered") == 60)
        eventually(lambda: sum(each.failures > 0 for each in listed(ledger)) == 60)

    assert len(well.received) == 60
    assert len(hanging.received) < 20  # the circuit opened
    assert any("is down: no answer" in (each.answer or "") for each in listed(ledger))


def test_after_the_last_try_a_message_is_dead_and_can_be_replayed(
    ledger: Ledger, quick: Settings
) -> None:
    batch = make_batch(ledger, 1)
    status = 500
    with consumer(lambda request, _: request.answer(status)) as server, sender(quick):
        hook(ledger, server.url, batch)
        end(ledger, batch)
        eventually(lambda: any(each.failures for each in listed(ledger)))
        with ledger.begin() as session:
            session.execute(text("update deliveries set failures = 8, due_at = now()"))
        eventually(told(ledger, "dead"))
        status = 200
        with ledger.begin() as session:
            now = database_time(session)
            none = [
                delivery_records.replay(session, choice)
                for choice in (Choice(event_id=0), Choice(since=now), Choice(until=now - HOUR))
            ]
            count = delivery_records.replay(session, Choice(since=now - HOUR, until=now))
        eventually(told(ledger, "delivered"))

    assert (none, count) == ([0, 0, 0], 1)
    assert len(set(server.ids)) == 1


def test_a_subscription_that_only_fails_is_paused_and_resumes_with_what_it_missed(
    ledger: Ledger, quick: Settings
) -> None:
    first, second = make_batch(ledger, 1), make_batch(ledger, 2)
    status = 500
    with consumer(lambda request, _: request.answer(status)) as server, sender(quick):
        with ledger.begin() as session:
            id_ = subscribe(session, url=server.url, events=["job.succeeded"])
            session.execute(
                text(
                    "update subscriptions set failures = 9,"
                    " failing_since = now() - interval '25 hours'"
                )
            )
        end(ledger, first)
        eventually(lambda: state_of(ledger, id_) == SubscriptionState.PAUSED)
        end(ledger, second)
        make_due(ledger)
        eventually(lambda: [each.due_at for each in listed(ledger)] == [None] * 3)
        with ledger.begin() as session:
            counts = delivery_records.counts(session)
            reason = subscriptions.find(session, str(id_)).reason
        status = 200
        tries = len(server.received)
        with ledger.begin() as session:
            resumed = subscriptions.resume(session, id_)
        eventually(told(ledger, *["delivered"] * 3))

    assert "only failed since" in reason
    assert "500" in reason
    assert (counts.paused, counts.undelivered, resumed, tries) == (3, 0, 3, 1)


def state_of(ledger: Ledger, id_: UUID) -> SubscriptionState:
    with ledger.begin() as session:
        return subscriptions.find(session, str(id_)).state


def test_what_is_due_of_a_removed_subscription_is_not_sent(ledger: Ledger, quick: Settings) -> None:
    batch = make_batch(ledger, 1)
    with consumer(500) as server, sender(quick):
        id_ = hook(ledger, server.url, batch)
        end(ledger, batch)
        eventually(lambda: any(each.failures for each in listed(ledger)))
        with ledger.begin() as session:
            subscriptions.remove(session, id_)
        make_due(ledger)
        eventually(told(ledger, "dead"))

    assert listed(ledger)[0].answer == "the subscription was removed"
    assert len(server.received) == 1


def test_a_sender_that_lacks_the_key_of_public_addresses_says_so_at_once(quick: Settings) -> None:
    lacking = quick.model_copy(update={"files": "file:///files/", "secret_key": None})

    with pytest.raises(SettingsInvalid, match="ENLARGER_SECRET_KEY"), sender(lacking):
        pass


def test_stopping_finishes_what_is_on_its_way_and_gives_back_the_rest(
    ledger: Ledger, quick: Settings
) -> None:
    batch = make_batch(ledger, 8)

    def slowly(request: Request, faulty: Faulty) -> None:
        faulty.ending.wait(0.3)
        request.answer(200)

    with consumer(slowly) as server, sender(quick):
        hook(ledger, server.url, batch)
        end(ledger, batch)
        eventually(lambda: server.received)

    assert "sending" not in states(ledger)
    assert states(ledger).count("delivered") == len(server.received)


def test_filters_narrow_a_standing_subscription(ledger: Ledger, quick: Settings) -> None:
    mine = make_batch(ledger, 1, owner="ann", source="file:///photos/a/")
    other = make_batch(ledger, 1, owner="bob")
    with consumer() as server, sender(quick):
        with ledger.begin() as session:
            for filters in (
                {"owner": "ann"},
                {"endpoint": "fal-ai/ccsr"},
                {"prefix": "file:///photos/1"},
                {"prefix": "s3://"},
            ):
                subscribe(session, url=server.url, events=["job.succeeded"], **filters)
        end(ledger, mine)
        end(ledger, other)
        eventually(told(ledger, *["delivered"] * 3))

    assert sorted(each.batch_id for each in listed(ledger)) == sorted([mine, mine, other])


def test_a_database_that_drops_its_connections_delays_and_loses_nothing(
    ledger: Ledger, quick: Settings
) -> None:
    batch = make_batch(ledger, 60)
    with consumer() as server:
        hook(ledger, server.url, batch)
        end(ledger, batch)
        with sender(quick):
            for _ in range(3):
                count = len(server.received)
                eventually(lambda count=count: len(server.received) > count or count == 60)
                drop_connections(quick)
            eventually(lambda: told_all(quick, 60), within_s=40)

    assert len(set(server.ids)) == 60


def drop_connections(settings: Settings) -> None:
    """Let the database end every session but the one that asks for it."""
    assert settings.database_url is not None
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )


def told_all(settings: Settings, count: int) -> bool:
    assert settings.database_url is not None
    statement = "select count(*) from deliveries where state = 'delivered'"
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        row = connection.execute(statement).fetchone()
    return row is not None and row[0] == count


def test_success_rates_and_ages_are_counted(ledger: Ledger, quick: Settings) -> None:
    batch = make_batch(ledger, 2)
    with consumer() as well, consumer(404) as ill, sender(quick):
        hook(ledger, well.url, batch)
        hook(ledger, ill.url, batch)
        end(ledger, batch, JobState.SUCCEEDED)
        eventually(told(ledger, "delivered", "delivered", "due", "due"))

    with ledger.begin() as session:
        counts = delivery_records.counts(session)
        rates = {each.origin: each.success for each in consumers.rates(session)}
        untried = delivery_records.untried(session, [batch])
    assert (counts.delivered, counts.undelivered, counts.dead, untried) == (2, 2, 0, False)
    assert 0 < counts.oldest_s < 20
    assert rates == {origin(well): 1.0, origin(ill): 0.0}


def origin(server: Consumer) -> str:
    return server.url.removesuffix("/hook")
