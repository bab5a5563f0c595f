"""The Celery app on Redis: its settings, its queues, the one task, and what is in its lists.

Redis is a hint. A message may be lost, doubled, late or out of order; the ledger decides.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, cast
from uuid import UUID, uuid4

import redis
from celery import Celery
from kombu.exceptions import BatchPublishError  # type: ignore[attr-defined]  # new in kombu 5.7
from kombu.exceptions import OperationalError as BrokerError
from redis.connection import parse_url

from scheduler.errors import BrokerUnavailable, SettingsInvalid
from scheduler.ledger.jobs import Ticket
from scheduler.settings import Settings

UPSCALE = "enlarger.upscale"
SEPARATOR = "|"  # kombu parts queue and priority by it, so no queue's name may contain it
SENTINEL = "sentinel"
HURRY = "hurry"
"""The channel on which workers are told to beat at once."""
PUBLISH_AT_ONCE = 500
READ_SINCE = (0, 1, 0)
"""The first version whose workers read what is published here: a task whose only argument is a list
of (job id, epoch). Whoever changes that changes this, goes on reading what was recorded of earlier
versions, and adds an argument: by that an older worker knows that the message isn't for it."""
UNAVAILABLE = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ResponseError,
    BrokerError,
    BatchPublishError,
)
NO_REDIS = (
    "ENLARGER_REDIS_URL is not set; point it at Redis, for instance redis://host:6379/0, "
    "or use `enlarger run`, which brings its own"
)

NO_ADDRESS = "ENLARGER_REDIS_URL is no address of a Redis; write redis://:password@host:6379/0"
"""Without the value: it may hold a password."""


def make_app(settings: Settings) -> Celery:
    """Return the Celery app: JSON only, late acks, no result backend, no prefetching.

    Raises:
        SettingsInvalid: No Redis is set.
    """
    app = Celery("enlarger", broker=redis_url(settings), set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_serializer="json",
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_create_missing_queues=True,
        task_default_queue="enlarger",
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            # Longer than any job: kombu would run it twice. The sweeper is quicker than this
            # wherever it matters, and the fence discards what comes back late.
            "visibility_timeout": 2 * settings.job_deadline_s,
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_keepalive": True,
            "socket_timeout": 30,
            "health_check_interval": 25,
            "sep": SEPARATOR,
            # A worker names its own queue first: the others are for when that one is empty.
            "queue_order_strategy": "priority",
            "priority_steps": [0],
            "global_keyprefix": settings.redis_prefix,
        },
    )
    return app


def redis_url(settings: Settings) -> str:
    """Return the broker's address.

    Raises:
        SettingsInvalid: None is set, or it is none.
    """
    if settings.redis_url is None:
        raise SettingsInvalid(NO_REDIS, field="redis_url")
    address = settings.redis_url.get_secret_value()
    try:
        parse_url(address)  # type: ignore[no-untyped-call]
    except ValueError as exc:
        raise SettingsInvalid(NO_ADDRESS, field="redis_url") from exc
    return address


def connect(settings: Settings) -> redis.Redis:
    """Return a client for everything that is not Celery's: the sentinel, and looking into lists."""
    return redis.Redis.from_url(
        redis_url(settings), socket_timeout=10, socket_connect_timeout=10, health_check_interval=25
    )


@contextmanager
def unavailable_mapped() -> Iterator[None]:
    """Turn "the server is not there" into `BrokerUnavailable`."""
    try:
        yield
    except UNAVAILABLE as exc:
        raise BrokerUnavailable(f"redis_url: Redis does not answer: {exc}") from exc


def queue_name(pipeline: str) -> str:
    """Return the queue for a pipeline's bundles that are for whichever worker comes first."""
    return pipeline.replace("/", ".")


def worker_queue(worker_id: UUID) -> str:
    """Return the queue of one worker's own bundles, of whatever pipeline."""
    return f"worker.{worker_id}"


def queue_of(pipeline: str, worker_id: UUID | None) -> str:
    """Return the queue for bundles that are meant for a worker, or for none in particular."""
    return queue_name(pipeline) if worker_id is None else worker_queue(worker_id)


def publish(
    app: Celery,
    pipeline: str,
    bundles: Iterable[Sequence[Ticket]],
    *,
    worker_id: UUID | None = None,
) -> None:
    """Put one message a bundle on a worker's queue, or the pipeline's, many in a round trip.

    Raises:
        BrokerUnavailable: Some messages may be in, some not; the sweeper finds out which.
    """
    queue = queue_of(pipeline, worker_id)
    producer: Any  # kombu's type stubs do not know `batch` yet
    with (
        unavailable_mapped(),
        app.producer_pool.acquire(block=True) as producer,
        producer.batch(max_size=PUBLISH_AT_ONCE),
    ):
        for bundle in bundles:
            _publish_one(app, producer, queue, bundle)


def _publish_one(app: Celery, producer: Any, queue: str, bundle: Sequence[Ticket]) -> None:  # noqa: ANN401 - kombu is untyped
    """Build the message without `apply_async`'s bookkeeping, which costs five times as much."""
    wire = [(str(ticket.job_id), ticket.epoch) for ticket in bundle]
    message = app.amqp.as_task_v2(
        str(uuid4()), UPSCALE, args=(wire,), argsrepr="", kwargsrepr="", ignore_result=True
    )
    producer.publish(
        message.body,
        routing_key=queue,
        exchange="",
        declare=[app.amqp.queues[queue]],
        serializer="json",
        headers=message.headers,
        retry=False,
        **message.properties,
    )


def reads(version: str) -> bool:
    """Tell whether workers of a version read what is published here."""
    numbers = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return numbers is not None and tuple(map(int, numbers.groups())) >= READ_SINCE


def tickets_of(wire: Sequence[Sequence[Any]]) -> list[Ticket]:
    """Read a message's only argument back."""
    return [Ticket(UUID(job_id), int(epoch)) for job_id, epoch in wire]


def tickets_in(raw: bytes) -> list[Ticket]:
    """Read what lies in a queue's list; what is no message of ours holds no tickets."""
    return _tickets(_entry(raw))


class Presence(NamedTuple):
    """Which tickets Redis still knows of.

    Attributes:
        listed: In a list, waiting for a worker.
        unacked: In some worker's hands.
    """

    listed: set[Ticket]
    unacked: set[Ticket]


def presence(client: redis.Redis, settings: Settings, queues: Iterable[str]) -> Presence:
    """Look into the lists of some queues, and into Celery's unacked set.

    The lists are read first: a message that moves on meanwhile is then seen in the second place.
    One that is in neither was lost, or is between the two for the blink that a worker takes to
    note it; so believe only two looks.
    """
    prefix = settings.redis_prefix
    with unavailable_mapped():
        listed = [
            raw for queue in queues for raw in cast(Any, client.lrange(prefix + queue, 0, -1))
        ]
        unacked = cast(Any, client.hvals(prefix + "unacked"))
    return Presence(
        listed={ticket for raw in listed for ticket in tickets_in(raw)},
        unacked={ticket for raw in unacked for ticket in _unacked(_entry(raw))},
    )


def forget_workers(client: redis.Redis, settings: Settings, workers: Iterable[UUID]) -> None:
    """Delete the queues of workers that are gone, with kombu's bindings for them.

    Raises:
        BrokerUnavailable: They stay until the next time.
    """
    kinds = ("", "_kombu.binding.", "_kombu.binding_permanent.")
    keys = [kind + worker_queue(worker_id) for worker_id in workers for kind in kinds]
    if keys:
        with unavailable_mapped():
            client.unlink(*(settings.redis_prefix + key for key in keys))


def _unacked(entry: Any) -> list[Ticket]:  # noqa: ANN401 - whatever JSON holds
    match entry:
        case [message, _exchange, _routing_key]:
            return _tickets(message)
    return []


def _entry(raw: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    """Read what lies in Redis; None for what is no JSON."""
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _tickets(message: Any) -> list[Ticket]:  # noqa: ANN401 - whatever JSON holds
    """Decode a kombu message: base64 around JSON `[args, kwargs, embed]`.

    One that is not ours holds no tickets: whatever lies in Redis must not stop the scheduler.
    """
    try:
        args, _kwargs, _embed = json.loads(base64.b64decode(message["body"]))
        return tickets_of(args[0])
    except (ValueError, TypeError, LookupError):
        return []


def hurry_workers(client: redis.Redis, settings: Settings) -> None:
    """Let all workers ask the ledger now what it thinks of the jobs in their hands.

    Raises:
        BrokerUnavailable: They ask with their next heartbeat.
    """
    with unavailable_mapped():
        client.publish(settings.redis_prefix + HURRY, b"")


def flushed(client: redis.Redis, settings: Settings) -> bool:
    """Say whether Redis forgot everything since the last call, and set the sentinel again."""
    with unavailable_mapped():
        return bool(client.set(settings.redis_prefix + SENTINEL, "1", nx=True))
