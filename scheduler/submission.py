"""What happens before a batch exists: every check that can be made at once, then one row."""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from models import catalog
from scheduler import arguments, traces
from scheduler.errors import DestinationUnwritable, KeyReused, NobodyReady
from scheduler.guard import parse_url
from scheduler.ledger import batches, fleet
from scheduler.ledger.batches import Submission
from scheduler.ledger.session import Ledger
from scheduler.ledger.subscriptions import subscribe
from scheduler.ledger.tables import Batch
from scheduler.manifests import Dialect, Source, open_source
from scheduler.storage import Storage, parse_address

WITH_COMPLETION_REPORT = ("csv", "inventory")
"""Kinds of sources that S3 Batch Operations reads as well, and whose report is written like its."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What somebody wants enlarged.

    Attributes:
        source: Address of a folder, prefix, image or manifest.
        destination: Address of the folder or prefix for the results.
        endpoint: The catalogue's id.
        arguments: The endpoint's arguments for every row; a row's own win.
        include: Globs of relative paths to take from a folder or prefix; none takes all images.
        exclude: Globs of relative paths to leave out.
        dialect: What is said about how a manifest is written.
        max_rejected: Cancel the batch when more rows than this can't become jobs; None for never.
        webhook: An address that is told when the batch has finished and is reported.
        priority: Batches with a higher one are served first.
        owner: Who shares the fleet as one.
        idempotency_key: Makes a repeated submission the same batch, whatever the source's version.
        again: Submit anew even if the same was submitted before.
        in_place: A result may replace its own source.
        only_if_absent: A result must not replace anything.
        skip_existing: A row whose result is there already is done, whatever that result is.
        reuse: A row may get a copy of what an equal row of an earlier batch became, and its own
            result may serve later ones. Never with `again`.
        places: The only addresses that its rows may name, and all below them; None for any.
    """

    source: str
    destination: str
    endpoint: str = catalog.DEFAULT_ENDPOINT
    arguments: Mapping[str, Any] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    dialect: Dialect = field(default_factory=Dialect)
    max_rejected: int | None = None
    webhook: str | None = None
    priority: int = 0
    owner: str = ""
    idempotency_key: str | None = None
    again: bool = False
    in_place: bool = False
    only_if_absent: bool = False
    skip_existing: bool = False
    reuse: bool = True
    places: tuple[str, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """The batch that an order became, or already was."""

    id: UUID
    new: bool


def submit(ledger: Ledger, storage: Storage, order: Order) -> Submitted:
    """Check an order and write its batch; a scheduler reads the source from then on.

    Raises:
        RequestError: The endpoint, an argument, the source or the destination won't do.
        WorldError: The ledger or a store is unwell; nothing was submitted.
    """
    began_ns = time.time_ns()
    checked = arguments.checked(order.endpoint, dict(order.arguments))
    if order.webhook is not None:
        parse_url(order.webhook)
    options = _options(order)
    destination = _folder(order)
    source = source_of(storage, order)
    source.check()
    check_destination(storage, source, order)
    version = source.version()
    # A folder is the same with and without its slash.
    address = source.roots[0] if source.kind == "listing" else order.source
    if source.kind in WITH_COMPLETION_REPORT:
        options["completion_report"] = True
    submission = Submission(
        id=uuid7(),
        owner=order.owner,
        priority=order.priority,
        source=address,
        source_version=version,
        destination=destination,
        endpoint=order.endpoint,
        arguments=json.dumps(checked),
        # Whether a result is computed or copied doesn't make it another one.
        options=json.dumps({**options, "reuse": order.reuse and not order.again}),
        fingerprint=_fingerprint(order, address, version, checked, options),
    )
    with ledger.begin() as session:
        id_, new = batches.submit(session, submission, again=order.again)
        if new:  # else it was accepted once; raising takes the new row back
            check_fleet(session, catalog.find(order.endpoint).pipeline_for(checked))
        else:
            _check_same(batches.get(session, id_), submission, order)
        if order.webhook is not None:
            subscribe(session, url=order.webhook, batch_id=id_, owner=order.owner)
    if new:
        traces.note_first("submit", id_, began_ns, endpoint=order.endpoint)
    return Submitted(id=id_, new=new)


def source_of(storage: Storage, order: Order) -> Source:
    """Return the reader of an order's source; raises like `open_source`."""
    return open_source(
        storage,
        order.source,
        include=order.include,
        exclude=order.exclude,
        dialect=order.dialect,
        destination=_folder(order),
    )


def _folder(order: Order) -> str:
    return str(parse_address(order.destination).folder())


def _options(order: Order) -> dict[str, Any]:
    """Return what concerns every row; what came later is named only where it was asked for.

    So the fingerprints of earlier submissions stay what they are.
    """
    said = {"dialect": order.dialect.to_json(), "max_rejected": order.max_rejected}
    return {
        "include": list(order.include),
        "exclude": list(order.exclude),
        "in_place": order.in_place,
        "only_if_absent": order.only_if_absent,
        **({"skip_existing": True} if order.skip_existing else {}),
        **{name: value for name, value in said.items() if value not in (None, {})},
        **({"places": list(order.places)} if order.places is not None else {}),
    }


def check_destination(storage: Storage, source: Source, order: Order) -> None:
    """Refuse what would fail for every row, or feed results back in as sources.

    Raises:
        DestinationUnwritable: So it is; the message says what to do.
        StorageUnavailable: The store does not answer.
    """
    destination = _folder(order)
    if source.kind == "listing" and destination in source.roots and not order.in_place:
        reason = (
            f"destination: {destination} is the source itself, so results would be taken for "
            "sources the next time; choose another folder, or say --in-place"
        )
        raise DestinationUnwritable(reason, field="destination")
    storage.check_writable(destination)
    if order.skip_existing:
        storage.check_visible(destination)


def check_fleet(session: Session, pipeline: str) -> None:
    """Refuse what nobody could do.

    Raises:
        NobodyReady: Every living worker says why it can't serve the pipeline.
    """
    reason = fleet.obstacle(session, pipeline)
    if reason is not None:
        raise NobodyReady(f"endpoint: {reason}", field="endpoint")


def _fingerprint(
    order: Order,
    address: str,
    version: str,
    checked: Mapping[str, Any],
    options: Mapping[str, Any],
) -> str:
    """Return what two submissions have in common when they are the same."""
    if order.idempotency_key is not None:
        parts: list[Any] = ["key", order.owner, order.idempotency_key]
    else:
        parts = [
            order.owner,
            address,
            version,
            str(parse_address(order.destination).folder()),
            order.endpoint,
            checked,
            options,
        ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _check_same(found: Batch, asked: Submission, order: Order) -> None:
    """Refuse an idempotency key that was used for something else.

    Raises:
        KeyReused: The batch under this key has another source, destination or endpoint.
    """
    was = (found.source, found.destination, found.endpoint, found.arguments)
    now = (asked.source, asked.destination, asked.endpoint, json.loads(asked.arguments))
    if was != now:
        reason = (
            f"idempotency_key: {order.idempotency_key!r} was used for {found.source} -> "
            f"{found.destination} by {found.endpoint}; use another key for another submission"
        )
        raise KeyReused(reason, field="idempotency_key")
