"""Batches as people ask about and steer them: the commands and the HTTP interface alike."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from uuid import UUID

from sqlalchemy.orm import Session

from models import catalog
from scheduler.errors import LedgerUnavailable
from scheduler.ledger import batches, consumers, delivery_records, fleet, retries, rows, steering
from scheduler.ledger.batches import Progress
from scheduler.ledger.consumers import Rate
from scheduler.ledger.delivery_records import Counts
from scheduler.ledger.rows import RowRecord
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.report import results
from scheduler.storage import Storage, fence
from scheduler.submission import Order, Submitted, submit


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A row that ended without a result.

    Attributes:
        line: Of its source.
        source: The picture's address; None where the row could not be read.
        state: How it ended.
        reason: What to tell people.
    """

    line: int
    source: str | None
    state: JobState
    reason: str


@dataclass(frozen=True, kw_only=True)
class Post:
    """Where the messages of webhooks stand, and how their destinations fare."""

    counts: Counts
    rates: Sequence[Rate]

    @property
    def any(self) -> bool:
        """Whether there is anything to tell of."""
        counts = self.counts
        return bool(
            self.rates or counts.noted or counts.undelivered or counts.paused or counts.dead
        )


class Desk(Protocol):
    """What may be asked about batches; `LedgerDesk` describes each method."""

    def submit(self, order: Order) -> Submitted:
        """Accept an order."""
        ...

    def find(self, piece: str) -> UUID:
        """Return the batch that a piece of an id means."""
        ...

    def progress(self, ids: Sequence[UUID]) -> list[Progress]:
        """Return the counters of batches."""
        ...

    def latest(self, *, limit: int) -> list[Progress]:
        """Return the counters of the newest batches."""
        ...

    def failures(self, batch_id: UUID, *, limit: int) -> list[Failure]:
        """Return the first rows that ended without a result."""
        ...

    def lines(self, batch_id: UUID, *, only_failed: bool) -> Iterator[str]:
        """Yield the lines of the results as they are now."""
        ...

    def retry(self, batch_id: UUID, states: Sequence[JobState]) -> int:
        """Give ended jobs another chance."""
        ...

    def cancel(self, batch_id: UUID) -> bool:
        """Let nothing more start."""
        ...

    def pause(self, batch_id: UUID) -> bool:
        """Let nothing start for a while."""
        ...

    def resume(self, batch_id: UUID) -> bool:
        """Let a paused batch go on."""
        ...

    def prioritize(self, batch_id: UUID, priority: int) -> bool:
        """Serve a batch earlier or later."""
        ...

    def ready(self) -> dict[str, int]:
        """Return how many workers can serve each endpoint."""
        ...

    def post(self) -> Post | None:
        """Return where the messages of webhooks stand; None where that is not told."""
        ...


class LedgerDesk:
    """The desk of whoever reaches the ledger: of all batches, or of one owner's alone."""

    def __init__(
        self,
        ledger: Ledger,
        storage: Storage,
        *,
        owner: str | None = None,
        places: Sequence[str] | None = None,
        explain: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the desk.

        Args:
            ledger: Where the batches are.
            storage: Where sources and results are.
            owner: Whose batches are seen and made; None for everybody's.
            places: The only addresses that orders may name, and all below them; None for any.
            explain: Called where the ledger does not answer; raises if it knows why.
        """
        self._ledger = ledger
        self._storage = storage
        self._owner = owner
        self._places = places
        self._explain = explain

    def submit(self, order: Order) -> Submitted:
        """Check an order and write its batch.

        Raises:
            RequestError: The endpoint, an argument, the source or the destination won't do.
            WorldError: The ledger or a store is unwell; nothing was submitted.
        """
        owned = order if self._owner is None else replace(order, owner=self._owner)
        if self._places is None:
            return submit(self._ledger, self._storage, owned)
        fence.check(order.destination, self._places, field="destination")
        fenced = self._storage.fenced(self._places)
        return submit(self._ledger, fenced, replace(owned, places=tuple(self._places)))

    def find(self, piece: str) -> UUID:
        """Return the only batch whose id is, begins or ends with `piece`.

        Raises:
            BatchUnknown: There is none or more than one, or `piece` is too short to tell.
        """
        with self._ledger.begin() as session:
            return batches.find(session, piece, owner=self._owner)

    def progress(self, ids: Sequence[UUID]) -> list[Progress]:
        """Return the counters of batches, in order.

        Raises:
            BatchUnknown: One of them is not there.
            SystemStopped: Whoever ran the system has ended, so that no waiting will help.
        """
        try:
            with self._ledger.begin() as session:
                for id_ in ids:
                    self._seen(session, id_)
                return [batches.progress(session, id_) for id_ in ids]
        except LedgerUnavailable:
            self._explain()
            raise

    def latest(self, *, limit: int) -> list[Progress]:
        """Return the counters of the newest batches, newest first."""
        with self._ledger.begin() as session:
            return batches.latest(session, limit=limit, owner=self._owner)

    def page(
        self, batch_id: UUID, *, after: int, limit: int, states: Sequence[JobState] | None
    ) -> list[RowRecord]:
        """Return the next rows behind line `after`, by line; only those in `states`.

        Raises:
            BatchUnknown: There is no such batch.
            BatchPruned: Its rows are gone.
        """
        with self._ledger.begin() as session:
            self._seen(session, batch_id)
            batches.unpruned(session, batch_id)
            return rows.page(session, batch_id, after=after, limit=limit, states=states)

    def failures(self, batch_id: UUID, *, limit: int) -> list[Failure]:
        """Return the first rows that ended without a result; raises like `page`."""
        found = self.page(batch_id, after=0, limit=limit, states=rows.UNSUCCESSFUL)
        return [
            Failure(line=row.line, source=row.source, state=row.state, reason=results.reason(row))
            for row in found
        ]

    def lines(self, batch_id: UUID, *, only_failed: bool) -> Iterator[str]:
        """Yield the lines of ``results.jsonl`` as they are now; raises like `page`, at once."""
        with self._ledger.begin() as session:
            self._seen(session, batch_id)
            batches.unpruned(session, batch_id)
        return results.lines(self._ledger, batch_id, only_failed=only_failed)

    def retry(self, batch_id: UUID, states: Sequence[JobState]) -> int:
        """Give jobs that ended in `states` a fresh budget; count them. Raises like `page`."""
        with self._ledger.begin() as session:
            self._seen(session, batch_id)
            return retries.retry(session, batch_id, states)

    def cancel(self, batch_id: UUID) -> bool:
        """Let nothing more of a batch start; tell whether anything was left to cancel.

        Raises:
            BatchUnknown: There is no such batch. This holds for all that follow.
        """
        with self._ledger.begin() as session:
            self._seen(session, batch_id)
            return batches.cancel(session, batch_id)

    def pause(self, batch_id: UUID) -> bool:
        """Let nothing of a batch start until `resume`; tell whether it went on until now."""
        with self._ledger.begin() as session:
            self._seen(session, batch_id)
            return steering.pause(session, batch_id)

    def resume(self, batch_id: UUID) -> bool:
        """Let a paused batch go on; tell whether it was paused."""
        with self._ledger.begin() as session:
            self._seen(session, batch_id)
            return steering.resume(session, batch_id)

    def prioritize(self, batch_id: UUID, priority: int) -> bool:
        """Give a batch another priority; tell whether it has not ended."""
        with self._ledger.begin() as session:
            self._seen(session, batch_id)
            return steering.prioritize(session, batch_id, priority)

    def ready(self) -> dict[str, int]:
        """Return how many living workers can serve each endpoint with one variant at least."""
        with self._ledger.begin() as session:
            counts = fleet.ready_counts(session)
        found: dict[str, int] = {}
        for pipeline, workers in counts.items():
            endpoint, _ = catalog.part(pipeline)
            found[endpoint] = max(workers, found.get(endpoint, 0))
        return found

    def post(self) -> Post:
        """Return where the messages of webhooks stand, those of all owners."""
        with self._ledger.begin() as session:
            counts, rates = delivery_records.counts(session), consumers.rates(session)
        return Post(counts=counts, rates=rates)

    def _seen(self, session: Session, batch_id: UUID) -> None:
        """Refuse a batch of somebody else, as if there were none."""
        if self._owner is not None and batches.get(session, batch_id).owner != self._owner:
            raise batches.unknown(str(batch_id))
