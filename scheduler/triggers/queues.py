"""SQS queues of bucket events: a message is deleted only once the ledger has its jobs.

Between the commit and the deletion a process may die; the message then comes again, and its objects
are found taken. So messages may be lost to us and doubled by the queue, and no job is either.
"""

import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import boto3
import structlog
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from scheduler import pulse
from scheduler.duties import Duty, attended
from scheduler.errors import QueueUnavailable, SettingsInvalid
from scheduler.ledger.session import Ledger, database_time
from scheduler.settings import Settings
from scheduler.stopping import stop_event
from scheduler.triggers import lists
from scheduler.triggers.lists import ListReader
from scheduler.triggers.taking import Message, take

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import MessageTypeDef

log = structlog.get_logger()

EXAMPLE = "one looks like https://sqs.eu-central-1.amazonaws.com/123456789012/photos"
NO_QUEUES = f"ENLARGER_EVENT_QUEUES is not set; name the queues that buckets tell of; {EXAMPLE}"
POLL_S = 5
"""How long a question waits for messages; as long may stopping take."""
VISIBILITY_S = 60
"""How long a message is hidden from others; asked for anew while it is being handled."""
AT_ONCE = 10
"""SQS's limit of messages in one call."""
TOGETHER = 100
"""Messages that share a transaction."""
REGION = re.compile(
    r"(?:^|\.)sqs(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws)$"
)
ANY_REGION = "us-east-1"
"""What servers of others are told that have none."""
COUNT: Literal["ApproximateNumberOfMessages"] = "ApproximateNumberOfMessages"
ABSENT = {"QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue", "InvalidAddress"}
FORBIDDEN = {"AccessDenied", "AccessDeniedException", "InvalidClientTokenId", "KMS.AccessDenied"}


def run(settings: Settings) -> None:
    """Take the messages of all queues until SIGTERM or SIGINT.

    Raises:
        SettingsInvalid: The database or the queues are not set.
    """
    stop = stop_event()
    if not settings.event_queues:
        raise SettingsInvalid(NO_QUEUES, field="event_queues")
    ledger = Ledger(settings, connections=2 * len(settings.event_queues))
    with attended(duties(ledger, settings), stop):
        pulse.beat_until(stop, settings)
    ledger.close()


def duties(ledger: Ledger, settings: Settings) -> list[Duty]:
    """Return a duty for each queue that the settings name."""
    found: list[Duty] = []
    for address in settings.event_queues:
        is_list = address.startswith(lists.SCHEMES)
        taker = ListReader(ledger, address) if is_list else Poller(ledger, settings, address)
        found.append(Duty(f"queue {name_of(address)}", taker.step, settings.poll_s))
    return found


def name_of(address: str) -> str:
    """Return what a queue is called for people; the address of a Redis list may hold a password."""
    return lists.name_of(address) if address.startswith(lists.SCHEMES) else address


def waiting(settings: Settings, address: str) -> int:
    """Return about how many messages a queue holds, and take none.

    Raises:
        SettingsInvalid: The address is none.
        QueueUnavailable: The queue is away, forbidden, or not there; the message says which.
    """
    if address.startswith(lists.SCHEMES):
        return lists.waiting(address)
    client = _connect(settings, address)
    with _queue_errors(address):
        found = client.get_queue_attributes(QueueUrl=address, AttributeNames=[COUNT])
    return int(found["Attributes"][COUNT])


class Poller:
    """Takes the messages of one queue."""

    def __init__(
        self, ledger: Ledger, settings: Settings, url: str, *, visibility_s: int = VISIBILITY_S
    ) -> None:
        self._ledger = ledger
        self._url = url
        self._visibility_s = visibility_s
        self._client = _connect(settings, url)

    def step(self) -> bool:
        """Wait a few seconds for messages and take them; tell whether there were any.

        Raises:
            LedgerUnavailable: Nothing was deleted from the queue; all of it comes again.
            QueueUnavailable: The queue is away, forbidden, or not there; the message says which.
        """
        # Before anything is received: an outage of the ledger must not use up the deliveries after
        # which a queue gives its messages away.
        with self._ledger.begin(durable=False) as session:
            database_time(session)
        messages = self._gather()
        if not messages:
            return False
        with self._hidden(messages):
            self._take(messages)
        self._delete(messages)
        return True

    def _gather(self) -> "list[MessageTypeDef]":
        """Receive what is there, up to what shares a transaction."""
        found = received = self._receive(wait_s=POLL_S)
        while len(received) == AT_ONCE and len(found) < TOGETHER:
            received = self._receive(wait_s=0)
            found = found + received
        return found

    def _receive(self, *, wait_s: int) -> "list[MessageTypeDef]":
        with _queue_errors(self._url):
            reply = self._client.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=AT_ONCE,
                WaitTimeSeconds=wait_s,
                VisibilityTimeout=self._visibility_s,
            )
        return reply.get("Messages", [])

    def _take(self, messages: "Sequence[MessageTypeDef]") -> None:
        jobs = take(
            self._ledger,
            [Message(each["Body"], f"{self._url}#{each['MessageId']}") for each in messages],
        )
        log.info("events.taken", queue=self._url, messages=len(messages), jobs=jobs)

    @contextmanager
    def _hidden(self, messages: "Sequence[MessageTypeDef]") -> Iterator[None]:
        """Keep messages hidden from others; show them again at once where they can't be taken."""
        done = threading.Event()
        keeper = threading.Thread(target=self._keep_hidden, args=(messages, done), daemon=True)
        keeper.start()
        try:
            yield
        except BaseException:
            done.set()
            keeper.join()
            self._hide(messages, for_s=0)
            raise
        finally:
            done.set()
        keeper.join()

    def _keep_hidden(self, messages: "Sequence[MessageTypeDef]", done: threading.Event) -> None:
        while not done.wait(self._visibility_s / 3):
            self._hide(messages, for_s=self._visibility_s)

    def _hide(self, messages: "Sequence[MessageTypeDef]", *, for_s: int) -> None:
        """Set for how long messages are hidden; if that fails they come again, which is no harm."""
        for some in _in_tens(messages):
            try:
                self._client.change_message_visibility_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {
                            "Id": str(place),
                            "ReceiptHandle": message["ReceiptHandle"],
                            "VisibilityTimeout": for_s,
                        }
                        for place, message in enumerate(some)
                    ],
                )
            except (BotoCoreError, ClientError) as exc:
                log.warning("events.not_hidden", queue=self._url, reason=str(exc))

    def _delete(self, messages: "Sequence[MessageTypeDef]") -> None:
        """Delete messages whose jobs are committed; what is left comes again, and is known."""
        for some in _in_tens(messages):
            with _queue_errors(self._url):
                reply = self._client.delete_message_batch(
                    QueueUrl=self._url,
                    Entries=[
                        {"Id": str(place), "ReceiptHandle": message["ReceiptHandle"]}
                        for place, message in enumerate(some)
                    ],
                )
            for failed in reply.get("Failed", []):
                log.warning("event.not_deleted", queue=self._url, reason=failed.get("Message"))


def _in_tens(messages: "Sequence[MessageTypeDef]") -> "Iterator[Sequence[MessageTypeDef]]":
    for start in range(0, len(messages), AT_ONCE):
        yield messages[start : start + AT_ONCE]


def _connect(settings: Settings, url: str) -> "SQSClient":
    """Make a client for the server that a queue's address names; nothing is sent yet.

    Raises:
        SettingsInvalid: The address is none.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or len(parts.path) < 2:
        reason = f"ENLARGER_EVENT_QUEUES: {url!r} is no address of a queue; {EXAMPLE}"
        raise SettingsInvalid(reason, field="event_queues")
    found = REGION.search(parts.hostname)
    session = boto3.session.Session()
    region = found[1] if found else settings.s3_region or session.region_name or ANY_REGION
    config = Config(
        connect_timeout=10,
        read_timeout=POLL_S + settings.storage_timeout_s,
        retries={"mode": "standard", "total_max_attempts": settings.storage_attempts},
    )
    return session.client(
        "sqs",
        endpoint_url=f"{parts.scheme}://{parts.netloc}",
        region_name=region,
        config=config,
    )


@contextmanager
def _queue_errors(url: str) -> Iterator[None]:
    """Turn an error of boto3 into one that says what to do; all of them may pass."""
    try:
        yield
    except ClientError as exc:
        code = exc.response.get("Error", {}).get("Code", "")
        said = exc.response.get("Error", {}).get("Message", "")
        raise QueueUnavailable(f"{url}: {code}: {said}{_remedy(code)}") from exc
    except BotoCoreError as exc:
        raise QueueUnavailable(f"{url}: the queue does not answer: {exc}") from exc


def _remedy(code: str) -> str:
    if code in ABSENT:
        return "; create the queue, or correct ENLARGER_EVENT_QUEUES"
    if code in FORBIDDEN:
        return (
            "; allow these credentials sqs:ReceiveMessage, sqs:DeleteMessage,"
            " sqs:ChangeMessageVisibility and sqs:GetQueueAttributes there"
        )
    return ""
