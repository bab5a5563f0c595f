"""Up to where each line of waiting jobs was taken: a hint that spares looking there again.

Somebody may stand before the place all the same: a transaction that began before it may commit
later, and one that held a job while the line was taken may break off. The first is expected, so the
places are kept some seconds back; for the rest, a line in which nothing is due is looked at from
its beginning now and then.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from scheduler.ledger.queueing import START, Line, Place

MARGIN = timedelta(seconds=10)
"""Longer than a chunk of a source, or a request, takes to commit."""
AGAIN = timedelta(minutes=1)
"""A line where nothing is due is looked at from its beginning this often."""


class Key(NamedTuple):
    """What has one line."""

    batch_id: UUID
    pipeline: str


class Places:
    """Where each line goes on. Forgetting it costs a long look, not work."""

    def __init__(self) -> None:
        self._places: dict[Key, Place] = {}
        self._looked: dict[Key, datetime] = {}
        """When each was looked at from the beginning."""

    def line(self, key: Key, now: datetime) -> Line:
        """Return a line from where it goes on."""
        place = self._places.get(key)
        if place is None:
            self._looked[key] = now
            return Line(*key, after=START)
        return Line(*key, after=min(place, Place(now - MARGIN, 0)))

    def lines(self) -> list[Line]:
        """Return all lines from where they go on, for whoever leads next."""
        return [Line(*key, after=place) for key, place in self._places.items()]

    def recall(self, lines: Sequence[Line], now: datetime) -> None:
        """Go on where somebody else stood."""
        for line in lines:
            key = Key(line.batch_id, line.pipeline)
            self._places[key], self._looked[key] = line.after, now

    def took(self, key: Key, place: Place) -> None:
        """Note that everybody up to a place was taken."""
        self._places[key] = max(place, self._places.get(key, START))

    def exhausted(self, keys: Sequence[Key], now: datetime) -> None:
        """Note where nothing is due; the one that this was believed of for the longest is doubted.

        One at a time: a look from the beginning may take long, and others wait for it.
        """
        for key in keys:
            self.took(key, Place(now, 0))
        doubted = min(keys, key=lambda key: self._looked[key], default=None)
        if doubted is not None and now - self._looked[doubted] > AGAIN:
            del self._places[doubted]

    def keep(self, keys: Iterable[Key]) -> None:
        """Forget all others."""
        kept = set(keys)
        self._places = {key: had for key, had in self._places.items() if key in kept}
        self._looked = {key: had for key, had in self._looked.items() if key in kept}
