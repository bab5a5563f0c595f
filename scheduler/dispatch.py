"""From the ledger to Redis: keeps a short window of bundles ahead of the workers, fair to all.

Only the scheduler publishes, and only after its commit. What a crash in between leaves `queued`
without a message, the sweeper puts back.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID

from celery import Celery
from sqlalchemy import text
from sqlalchemy.orm import Session

from scheduler import broker
from scheduler.ledger import batches, fleet, jobs
from scheduler.ledger.jobs import Queued, Ticket
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import Batch, BatchState
from scheduler.settings import Settings

UNKNOWN_COST_S = 0.5
"""Expected device time of a job of a batch that has finished none yet."""


@dataclass(frozen=True, kw_only=True)
class Claimant:
    """A batch that wants room in a pipeline's window.

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


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Jobs that travel in one message."""

    pipeline: str
    tickets: tuple[Ticket, ...]


class Dispatcher:
    """Fills the windows. Its memory, who was served how much, only makes it fairer."""

    def __init__(self, ledger: Ledger, app: Celery, settings: Settings) -> None:
        self._ledger = ledger
        self._app = app
        self._settings = settings
        self._served: dict[str, dict[UUID, float]] = {}

    def step(self, now: datetime) -> int:
        """Queue what fits into each pipeline's window, and return how many jobs that were.

        Raises:
            LedgerUnavailable: Nothing happened, or it will be swept up.
            BrokerUnavailable: Likewise.
        """
        with self._ledger.begin(durable=False) as session:
            bundles = self._choose(session, now)
        for pipeline, group in groupby(bundles, key=lambda bundle: bundle.pipeline):
            broker.publish(self._app, pipeline, (bundle.tickets for bundle in group))
        return sum(len(bundle.tickets) for bundle in bundles)

    def _choose(self, session: Session, now: datetime) -> list[Bundle]:
        workers = fleet.ready_counts(session)
        bundles: list[Bundle] = []
        for pipeline, claimants in sorted(claimants_by_pipeline(session).items()):
            room = self._room(session, pipeline, claimants, workers.get(pipeline, 0))
            if room > 0:
                bundles += self._fill(session, pipeline, claimants, room, now)
        return bundles

    def _room(
        self, session: Session, pipeline: str, claimants: Sequence[Claimant], workers: int
    ) -> int:
        """Return how many more jobs the window takes.

        A worker is kept two bundles or a second ahead, whichever is more: quick jobs must not run
        out between two steps, and slow ones must not make a newcomer wait.
        """
        quickest = min(claimant.cost_s for claimant in claimants)
        ahead = max(2 * bundle_size(quickest, self._settings), int(1 / quickest))
        wanted = min(max(workers, 1) * ahead, self._settings.window_jobs)
        return wanted - queued_count(session, pipeline)

    def _fill(
        self,
        session: Session,
        pipeline: str,
        claimants: Sequence[Claimant],
        room: int,
        now: datetime,
    ) -> list[Bundle]:
        """Serve the least served batch a bundle at a time, until the room or the work is gone."""
        served = self._served[pipeline] = caught_up(self._served.get(pipeline, {}), claimants)
        hungry = list(claimants)
        bundles: list[Bundle] = []
        while room > 0 and hungry:
            claimant = next_served(hungry, served)
            size = min(room, bundle_size(claimant.cost_s, self._settings))
            taken = jobs.take(session, claimant.batch_id, pipeline, limit=size, now=now)
            served[claimant.batch_id] += len(taken) * claimant.cost_s
            room -= len(taken)
            bundles += [Bundle(pipeline=pipeline, tickets=each) for each in split(taken)]
            if len(taken) < size:
                hungry.remove(claimant)
        self._served[pipeline] = without_credit(served, hungry)
        return bundles


def bundle_size(cost_s: float, settings: Settings) -> int:
    """Return how many jobs of this cost make a bundle."""
    return max(1, min(settings.bundle_jobs, int(settings.bundle_s / max(cost_s, 1e-6))))


def split(taken: Sequence[Queued]) -> list[tuple[Ticket, ...]]:
    """Part a bundle so that each job that must run alone has a message of its own."""
    together = tuple(job.ticket for job in taken if not job.alone)
    alone: list[tuple[Ticket, ...]] = [(job.ticket,) for job in taken if job.alone]
    return [together, *alone] if together else alone


def next_served(hungry: Sequence[Claimant], served: dict[UUID, float]) -> Claimant:
    """Return whose turn it is: by priority, then the least served owner, then batch."""
    by_owner: dict[str, float] = {}
    for claimant in hungry:
        by_owner[claimant.owner] = by_owner.get(claimant.owner, 0.0) + served[claimant.batch_id]
    return min(
        hungry,
        key=lambda c: (-c.priority, by_owner[c.owner], served[c.batch_id], c.batch_id),
    )


def without_credit(served: dict[UUID, float], hungry: Sequence[Claimant]) -> dict[UUID, float]:
    """Level a batch that had nothing to queue with those that had: waiting earns no arrears."""
    level = min((served[claimant.batch_id] for claimant in hungry), default=0.0)
    return {batch_id: max(had, level) for batch_id, had in served.items()}


def caught_up(served: dict[UUID, float], claimants: Sequence[Claimant]) -> dict[UUID, float]:
    """Forget batches that are gone; let new ones begin level with the least served, not at zero.

    Else a batch that arrives after a day of others would have the fleet for itself for a day.
    """
    level = min((served[c.batch_id] for c in claimants if c.batch_id in served), default=0.0)
    return {c.batch_id: served.get(c.batch_id, level) - level for c in claimants}


def claimants_by_pipeline(session: Session) -> dict[str, list[Claimant]]:
    """Return the active batches that may queue jobs, by the pipeline that their jobs need."""
    found: dict[str, list[Claimant]] = {}
    for batch in batches.active(session):
        if batch.state in (BatchState.PAUSED, BatchState.CANCELLED):
            continue
        claimant = Claimant(
            batch_id=batch.id,
            owner=batch.owner,
            priority=batch.priority,
            cost_s=expected_cost(batch),
        )
        for pipeline in batch.pipelines:
            found.setdefault(pipeline, []).append(claimant)
    return found


def expected_cost(batch: Batch) -> float:
    """Return the mean device time of the batch's finished jobs, in seconds."""
    if not batch.succeeded:
        return UNKNOWN_COST_S
    mean = batch.device_s / batch.succeeded
    return mean if math.isfinite(mean) and mean > 0 else UNKNOWN_COST_S


def queued_count(session: Session, pipeline: str) -> int:
    """Count the pipeline's queued jobs; no more than its window is wide."""
    count = session.execute(
        text("select count(*) from jobs where pipeline = :pipeline and state = 'queued'"),
        {"pipeline": pipeline},
    ).scalar_one()
    return int(count)
