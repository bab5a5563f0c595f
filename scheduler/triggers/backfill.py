"""What was in a rule's bucket already: listed and submitted as a batch, which knows what is taken.

The batch is read as any other, chunk by chunk with its cursor in the ledger. Each chunk takes its
objects for the rule in the transaction that makes their jobs, so it leaves out what the rule took
from events, and events leave out what the batch took.
"""

import hashlib
import json
from collections.abc import Iterator
from urllib.parse import quote, unquote
from uuid import UUID

from uuid_utils.compat import uuid7

from scheduler import arguments
from scheduler.errors import AccessDenied
from scheduler.ledger import batches, subscriptions, triggers
from scheduler.ledger.batches import Submission
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import Batch, BatchState
from scheduler.ledger.trigger_tables import Trigger
from scheduler.manifests import Cursor, Item, Row
from scheduler.manifests.rows import unstorable
from scheduler.storage import ObjectInfo, Storage, parse_address
from scheduler.triggers import filters
from scheduler.triggers.about import about, options_of
from scheduler.triggers.arrival import Arrival
from scheduler.triggers.destination import Target, target_of

FIELDS = ("id", "name", "bucket", "prefix", "suffixes", "globs", "excludes")
"""What the batch keeps of its rule, beside what every batch has: the rule may change meanwhile."""


class Backfill:
    """The `Source` of what a rule means among the objects that are there.

    Args:
        storage: Where they are listed.
        trigger: The rule.
    """

    kind = "trigger"

    def __init__(self, storage: Storage, trigger: Trigger) -> None:
        self._storage = storage
        self._trigger = trigger
        self._target: Target = target_of(trigger)

    @property
    def roots(self) -> tuple[str, ...]:
        """No folder: every row names its destination."""
        return ()

    def version(self) -> str:
        """Return nothing: a bucket may change while it is read, and what it took is known."""
        return ""

    def check(self) -> None:
        """Refuse a bucket that can't be listed.

        Raises:
            AccessDenied: The credentials may not list its versions; the message says what to allow.
            ObjectMissing: There is no such bucket.
            StorageUnavailable: The store does not answer.
        """
        try:
            next(self._listed(None), None)
        except AccessDenied as exc:
            reason = f"bucket: allow s3:ListBucketVersions on {self._trigger.bucket!r}: {exc}"
            raise AccessDenied(reason, field="bucket") from exc

    def rows(self, cursor: Cursor | None = None) -> Iterator[Item]:
        """Yield one row for each object that the rule means."""
        line = 0 if cursor is None else cursor["line"]
        for info in self._listed(None if cursor is None else unquote(cursor["after"])):
            arrival = _arrival(info)
            if filters.means(self._trigger, arrival):
                line += 1
                yield self._row(line, arrival)

    def _listed(self, after: str | None) -> Iterator[ObjectInfo]:
        prefix = f"s3://{self._trigger.bucket}/{self._trigger.prefix}"
        # A key with a NUL could not be kept; events with one are buried.
        return (
            info
            for info in self._storage.list(prefix, after=after, versioned=True)
            if not unstorable(info.address)
        )

    def _row(self, line: int, arrival: Arrival) -> Row:
        return Row(
            line=line,
            source=arrival.address,
            version=self._target.version(arrival),
            destination=self._target.relative(arrival),
            passthrough=about(self._trigger, arrival),
            object=arrival.identity,
            # Encoded, since a key may hold what JSON in a database can't.
            cursor={"after": quote(arrival.address), "line": line},
        )


def _arrival(info: ObjectInfo) -> Arrival:
    place = parse_address(info.address)
    return Arrival(
        bucket=place.bucket,
        key=place.key,
        version=info.version,
        etag=info.etag,
        size=info.size,
        at=info.modified,
    )


def source_of(storage: Storage, batch: Batch) -> Backfill:
    """Return the source of a batch that `start` made.

    Raises:
        RequestError: The rule's endpoint is not there any more.
    """
    kept = batch.options["rule"]
    trigger = Trigger(
        **{**kept, "id": UUID(kept["id"])},
        endpoint=batch.endpoint,
        arguments=batch.arguments,
    )
    return Backfill(storage, trigger)


def start(ledger: Ledger, storage: Storage, name: str) -> tuple[UUID, bool]:
    """Submit what a rule means and has not taken; one that is still being read goes on.

    Returns:
        The batch's id, and whether it is new.

    Raises:
        TriggerUnknown: There is no such rule.
        RequestError: Its bucket can't be listed, or its destination can't be written.
        WorldError: The ledger or a store is unwell; nothing was submitted.
    """
    with ledger.begin() as session:
        trigger = triggers.find(session, name)
    Backfill(storage, trigger).check()
    target = target_of(trigger)
    storage.check_writable(target.template.folder)
    submission = _submission(trigger, target)
    with ledger.begin() as session:
        id_, new = batches.submit(session, submission, again=False)
        if not new and batches.get(session, id_).state != BatchState.READING:
            id_, new = batches.submit(session, submission, again=True)
        if new and trigger.webhook is not None:
            events = (*subscriptions.JOB_ENDS, *subscriptions.BATCH_ENDS)
            subscriptions.subscribe(
                session, url=trigger.webhook, events=events, batch_id=id_, owner=trigger.owner
            )
    return id_, new


def _submission(trigger: Trigger, target: Target) -> Submission:
    kept = {name: getattr(trigger, name) for name in (*FIELDS, "destination")}
    options = {**options_of(trigger), "rule": {**kept, "id": str(trigger.id)}}
    return Submission(
        id=uuid7(),
        owner=trigger.owner,
        priority=trigger.priority,
        source=f"s3://{trigger.bucket}/{trigger.prefix}",
        source_version="",
        destination=target.template.folder,
        endpoint=trigger.endpoint,
        arguments=json.dumps(arguments.checked(trigger.endpoint, trigger.arguments)),
        options=json.dumps(options),
        fingerprint=hashlib.sha256(f"backfill {trigger.id}".encode()).hexdigest(),
    )
