"""Whose turn it is: equal shares of device time for owners, and for each owner's batches.

This is start-time fair queueing (Goyal, Vin, Cheng 1996), the form of deficit round-robin that asks
for no fixed quantum: everybody has an account of what was served to them, the lowest account is
next, and an account that was idle goes on where the others stand, so that waiting earns no credit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar
from uuid import UUID

Name = TypeVar("Name", str, UUID)


@dataclass(frozen=True, kw_only=True)
class Claimant:
    """A batch that wants device time of a pipeline.

    Attributes:
        batch_id: The batch.
        owner: Owners share a pipeline equally, whatever number of batches each has.
        priority: Higher ones are served first, completely.
        cost_s: Expected device time of one of its jobs, in seconds.
    """

    batch_id: UUID
    owner: str
    priority: int
    cost_s: float


class Accounts(Generic[Name]):
    """What was served to each of some equals, in seconds of device time."""

    def __init__(self) -> None:
        self._served: dict[Name, float] = {}
        self._now = 0.0
        """Where the account stood that was served last: newcomers begin here."""

    def standing(self, name: Name) -> float:
        """Return an account; one that was away, or is new, stands where the last served stood."""
        return max(self._served.get(name, 0.0), self._now)

    def charge(self, name: Name, seconds: float) -> None:
        """Add what was served."""
        start = self.standing(name)
        self._now = start
        self._served[name] = start + seconds

    def keep(self, names: set[Name]) -> None:
        """Forget all others."""
        self._served = {name: had for name, had in self._served.items() if name in names}


class Shares:
    """Who was served how much of one pipeline. A hint: forgetting it costs fairness, not work."""

    def __init__(self) -> None:
        self._owners = Accounts[str]()
        self._batches: dict[str, Accounts[UUID]] = {}

    def next_served(self, hungry: Sequence[Claimant]) -> Claimant:
        """Return whose turn it is: by priority, then the least served owner, then batch."""
        return min(hungry, key=self._place)

    def charge(self, claimant: Claimant, seconds: float) -> None:
        """Add device time to a batch's account and to its owner's."""
        self._owners.charge(claimant.owner, seconds)
        batches = self._batches.setdefault(claimant.owner, Accounts())
        batches.charge(claimant.batch_id, seconds)

    def keep(self, claimants: Sequence[Claimant]) -> None:
        """Forget batches and owners that are gone, so that memory grows with active ones only."""
        owners = {claimant.owner for claimant in claimants}
        self._owners.keep(owners)
        self._batches = {owner: had for owner, had in self._batches.items() if owner in owners}
        present = {claimant.batch_id for claimant in claimants}
        for batches in self._batches.values():
            batches.keep(present)

    def _place(self, claimant: Claimant) -> tuple[int, float, float, UUID]:
        batches = self._batches.get(claimant.owner) or Accounts[UUID]()
        return (
            -claimant.priority,
            self._owners.standing(claimant.owner),
            batches.standing(claimant.batch_id),
            claimant.batch_id,
        )
