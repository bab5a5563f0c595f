"""What follows when people steer a batch: they change one row, the rest is done here, in chunks.

A chunk is a transaction, and this is a duty of its own: however much there is to cancel or to
retry, no other duty and no worker waits for it.
"""

from scheduler.ledger import batches, retries, steering
from scheduler.ledger.session import Ledger, database_time
from scheduler.ledger.tables import Batch, BatchState
from scheduler.places import Key, Places

AT_ONCE = 5000
"""Rows of a transaction."""


class Steerer:
    """Takes back what paused batches have queued, ends cancelled ones, and retries.

    Its memory, how far each batch was cancelled, only spares it long looks.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._places = Places()

    def step(self) -> bool:
        """Do a chunk of each kind; tell whether there is more to do.

        Raises:
            LedgerUnavailable: What was done is done; the rest follows.
        """
        with self._ledger.begin() as session:
            active = batches.active(session)
            if any(batch.state in (BatchState.PAUSED, BatchState.CANCELLED) for batch in active):
                steering.take_back(session, limit=AT_ONCE)
        with self._ledger.begin() as session:
            retried = retries.go_on(session, limit=AT_ONCE)
        cancelled = self._cancel([each for each in active if each.state == BatchState.CANCELLED])
        return retried or cancelled

    def _cancel(self, cancelled: list[Batch]) -> bool:
        keys = [Key(batch.id, pipeline) for batch in cancelled for pipeline in batch.pipelines]
        self._places.keep(keys)
        try:
            done = [key for key in keys if self._cancel_some(key)]
        except BaseException:
            self._places = Places()  # nobody knows what was committed
            raise
        with self._ledger.begin(durable=False) as session:
            now = database_time(session)
        self._places.exhausted([key for key in keys if key not in done], now)
        return bool(done)

    def _cancel_some(self, key: Key) -> bool:
        with self._ledger.begin() as session:
            line = self._places.line(key, database_time(session))
            place = steering.cancel_waiting(session, line, limit=AT_ONCE)
        if place is not None:
            self._places.took(key, place)
        return place is not None
