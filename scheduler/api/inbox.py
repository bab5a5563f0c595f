"""Where submissions become rows: those that come at the same time share a transaction.

While one is being committed, the next ones gather. If a transaction fails, its submissions are
written one by one, so that a bad one fails alone.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from scheduler.api.desk import Accepted, Desk, Prepared, Submission
from scheduler.api.gathering import Gathering
from scheduler.ledger import feeds, files, requests, subscriptions
from scheduler.ledger.feeds import Feed
from scheduler.ledger.session import Ledger
from scheduler.ledger.webhook_tables import Style

AT_ONCE = 64
"""Submissions in one transaction, which holds up the closing of its feeds."""
WRITERS = 2
"""Transactions at once: while one waits for the disk, another is prepared."""
COMPANY = 4
"""Submissions that are worth another transaction, which costs as much as writing five."""

Outcome: TypeAlias = Accepted | Exception


class KeyTaken(Exception):
    """Another transaction used an idempotency key meanwhile; undoes ours."""


class Inbox:
    """Takes submissions in. To be used from one event loop only."""

    def __init__(self, ledger: Ledger, desk: Desk) -> None:
        self._ledger = ledger
        self._desk = desk
        self._gathering = Gathering(self._write, writers=WRITERS, company=COMPANY, at_once=AT_ONCE)

    async def submit(self, submission: Submission) -> Accepted:
        """Write a request, or find the one that was made under the same idempotency key.

        Raises:
            RequestError: It is refused; see `Desk.prepare`.
            WorldError: The ledger or the store of files is unwell; nothing was submitted.
        """
        prepared = await run_in_threadpool(self._desk.prepare, submission)
        if isinstance(prepared, Accepted):
            return prepared
        return await self._gathering.put(prepared)

    def _write(self, batch: Sequence[Prepared]) -> list[Outcome]:
        """Write submissions, together or else each by itself; never raises."""
        try:
            with self._ledger.begin() as session:
                return list(_add(session, batch))
        except Exception as exc:  # noqa: BLE001 - each caller is told of its own
            if len(batch) > 1:
                return [outcome for each in batch for outcome in self._write([each])]
            if not isinstance(exc, KeyTaken):
                return [exc]
        try:
            return [self._desk.made_before(batch[0].submission)]
        except Exception as exc:  # noqa: BLE001 - likewise
            return [exc]


def _add(session: Session, batch: Sequence[Prepared]) -> list[Accepted]:
    """Write jobs, requests and all that belongs to them.

    Raises:
        KeyTaken: One of their idempotency keys is another's by now.
    """
    ids = _append(session, batch)
    positions = requests.add(
        session, [each.request(id_) for id_, each in zip(ids, batch, strict=True)]
    )
    if len(positions) < len(batch):
        raise KeyTaken
    files.leave(session, [each.leftover(id_) for id_, each in zip(ids, batch, strict=True)])
    for id_, each in zip(ids, batch, strict=True):
        if each.submission.wishes.webhook is not None:
            subscriptions.subscribe(
                session,
                url=each.submission.wishes.webhook,
                style=Style.FAL,
                job_id=id_,
                owner=each.submission.caller.owner,
            )
    return [Accepted(id=id_, position=positions[id_]) for id_ in ids]


def _append(session: Session, batch: Sequence[Prepared]) -> list[UUID]:
    """Append the jobs to their feeds; return their ids, in the order of the batch."""
    places: dict[str, list[int]] = defaultdict(list)
    by_key: dict[str, Feed] = {}
    for place, each in enumerate(batch):
        places[each.feed.key].append(place)
        by_key[each.feed.key] = each.feed
    found: dict[int, UUID] = {}
    for key in sorted(places):  # one order of locks for all
        ids = feeds.append(session, by_key[key], [batch[place].row for place in places[key]])
        found |= dict(zip(places[key], ids, strict=True))
    return [found[place] for place in range(len(batch))]
