"""From the ledger to Redis: keeps a short window of bundles ahead of the workers, fair to all.

Only the scheduler publishes, and only after its commit. What a crash in between leaves `queued`
without a message, the sweeper puts back. Who is served next is decided in `fairness`, where it is
served in `placement`; here is what both need to know, and what follows from it.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from uuid import UUID

from celery import Celery
from sqlalchemy.orm import Session

from scheduler import broker, traces
from scheduler.fairness import Claimant, Shares
from scheduler.ledger import batches, bookmarks, fleet, queueing
from scheduler.ledger.bookmarks import Bookmark
from scheduler.ledger.jobs import Ticket
from scheduler.ledger.queueing import Handed, Queued
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import Batch, BatchState, JobState
from scheduler.placement import Demand, Hall, Seat, home_of
from scheduler.places import Key, Places
from scheduler.settings import Settings

UNKNOWN_COST_S = 0.5
"""Expected device time of a job where none of its pipeline's batches has finished any yet."""
LEAST_COST_S = 0.001
NOTE_S = 5.0
"""How often a dispatcher leaves word of where it stands."""
AHEAD_S = 0.5
"""A worker with less than this in hand gets more: quick jobs must not run out between two steps."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """Jobs that travel in one message, to a worker, or to whoever comes first."""

    pipeline: str
    worker_id: UUID | None
    tickets: tuple[Ticket, ...]


class Dispatcher:
    """Fills the windows. Its memory makes it fairer, saves switches, and keeps it quick."""

    def __init__(self, ledger: Ledger, app: Celery, settings: Settings) -> None:
        self._ledger = ledger
        self._app = app
        self._settings = settings
        self._shares: dict[str, Shares] = {}
        self._fed: dict[str, datetime] = {}
        """When each pipeline was last served or had nothing to serve, the longest ago first."""
        self._last: dict[UUID, str] = {}
        """The pipeline that each worker was given last."""
        self._places = Places()
        self._handed: list[UUID] | None = None
        """Jobs that may be queued or running; None for not known."""
        self._noted: datetime | None = None
        """When the ledger was told last where this stands; None before the first step."""

    def step(self, now: datetime) -> int:
        """Queue what fits into the windows, and return how many jobs that were.

        Raises:
            LedgerUnavailable: Nothing happened, or it will be swept up.
            BrokerUnavailable: Likewise.
        """
        began_ns = time.time_ns()
        try:
            with self._ledger.begin(durable=False) as session:
                bundles = self._choose(session, now)
                self._note_standing(session, now)
        except BaseException:
            # Nobody knows what was committed, and what is true of it.
            self._places, self._handed, self._noted = Places(), None, None
            raise
        for (pipeline, worker_id), group in groupby(
            bundles, key=lambda bundle: (bundle.pipeline, bundle.worker_id)
        ):
            tickets = (bundle.tickets for bundle in group)
            broker.publish(self._app, pipeline, tickets, worker_id=worker_id)
        for bundle in bundles:
            for ticket in bundle.tickets:
                traces.note("dispatch", ticket.job_id, began_ns, pipeline=bundle.pipeline)
        return sum(len(bundle.tickets) for bundle in bundles)

    def _choose(self, session: Session, now: datetime) -> list[Bundle]:
        """Serve a bundle at a time, until no worker has room or nothing is left."""
        claimants = claimants_by_pipeline(session)
        if self._noted is None:
            self._recall(session, list(claimants), now)
        self._remember(claimants, now)
        hungry = self._due(session, claimants, now)
        if not hungry:
            return []
        handed = queueing.handed_out(session, self._handed)
        self._handed = [each.id for each in handed]
        hall = Hall(self._seats(session, handed, claimants))
        queued = Counter(each.pipeline for each in handed if each.state is JobState.QUEUED)
        bundles: list[Bundle] = []
        while (chosen := self._serve(session, hall, hungry, queued, now)) is not None:
            bundles += chosen
        return bundles

    def _recall(self, session: Session, pipelines: Sequence[str], now: datetime) -> None:
        """Go on where the last dispatcher stood, if it left word."""
        self._noted = now
        found = bookmarks.find(session, pipelines)
        if found is not None:
            self._places.recall(found.lines, now)
            self._handed = list(found.handed)

    def _note_standing(self, session: Session, now: datetime) -> None:
        """Leave word for the next dispatcher, now and then."""
        assert self._noted is not None
        if self._handed is None or (now - self._noted).total_seconds() < NOTE_S:
            return
        self._noted = now
        standing = Bookmark(lines=self._places.lines(), handed=self._handed)
        bookmarks.note(session, standing, now=now)

    def _serve(
        self,
        session: Session,
        hall: Hall,
        hungry: dict[str, list[Claimant]],
        queued: Counter[str],
        now: datetime,
    ) -> list[Bundle] | None:
        """Take the next bundle, in parts where jobs must run alone; None where nobody has room."""
        with hall.place(self._demands(hungry, queued, now)) as chosen:
            if chosen is None:
                return None
            seat, pipeline = chosen[0], chosen[1].pipeline
            room = self._settings.window_jobs - queued[pipeline]
            taken = self._take(session, seat, pipeline, hungry[pipeline], room, now)
        queued[pipeline] += len(taken)
        assert self._handed is not None
        self._handed += [each.ticket.job_id for each in taken]
        return [
            Bundle(pipeline=pipeline, worker_id=seat.worker_id, tickets=each)
            for each in split(taken)
        ]

    def _due(
        self, session: Session, claimants: dict[str, list[Claimant]], now: datetime
    ) -> dict[str, list[Claimant]]:
        """Return those for whom somebody may run by now: the others take nobody's turn, or room."""
        keys = [Key(each.batch_id, name) for name, found in claimants.items() for each in found]
        lines = queueing.due(session, [self._places.line(key, now) for key in keys], now=now)
        due = {Key(line.batch_id, line.pipeline): line.after for line in lines}
        for key, before in due.items():
            self._places.took(key, before)
        self._places.exhausted([key for key in keys if key not in due], now)
        hungry = {
            name: [each for each in found if Key(each.batch_id, name) in due]
            for name, found in claimants.items()
        }
        for name in [name for name, found in hungry.items() if not found]:
            self._feed(name, now)
        return {name: found for name, found in hungry.items() if found}

    def _take(
        self,
        session: Session,
        seat: Seat,
        pipeline: str,
        hungry: list[Claimant],
        room: int,
        now: datetime,
    ) -> list[Queued]:
        """Take a bundle of whose turn it is; who has no more is struck off the hungry ones."""
        claimant = self._shares[pipeline].next_served(hungry)
        size = min(bundle_size(claimant.cost_s, self._settings), room)
        key = Key(claimant.batch_id, pipeline)
        line = self._places.line(key, now)
        taken = queueing.take(session, line, limit=size, now=now, worker_id=seat.worker_id)
        if taken:
            self._places.took(key, taken[-1].place)
        if len(taken) < size:
            hungry.remove(claimant)
        self._note(seat, pipeline, claimant, len(taken), now)
        return taken

    def _remember(self, claimants: dict[str, list[Claimant]], now: datetime) -> None:
        """Begin to count for pipelines that are new; forget those that nobody wants any more."""
        self._fed = {name: at for name, at in self._fed.items() if name in claimants}
        self._shares = {name: had for name, had in self._shares.items() if name in claimants}
        for pipeline, found in claimants.items():
            self._fed.setdefault(pipeline, now)
            self._shares.setdefault(pipeline, Shares()).keep(found)
        self._places.keep(
            Key(each.batch_id, name) for name, found in claimants.items() for each in found
        )

    def _seats(
        self, session: Session, handed: Sequence[Handed], claimants: dict[str, list[Claimant]]
    ) -> list[Seat]:
        """Return the living workers, and the queues of pipelines that none of them can serve.

        Workers too old for our messages finish what they have, and are given nothing.
        """
        costs = {each.batch_id: each.cost_s for found in claimants.values() for each in found}
        held = defaultdict[UUID | str, float](float)
        for job in handed:  # those of paused batches count, too
            held[job.worker_id or job.pipeline] += costs.get(job.batch_id, UNKNOWN_COST_S)
        groups = [each for each in fleet.serving(session) if broker.reads(each.version)]
        alive = {id_ for group in groups for id_ in group.ids}
        self._last = {id_: last for id_, last in self._last.items() if id_ in alive}
        seats = [
            Seat(
                worker_id=id_,
                ready=group.ready,
                home=home_of(group.resident, self._last.get(id_)),
                load_s=held[id_],
            )
            for group in groups
            for id_ in group.ids
        ]
        unserved = claimants.keys() - {name for group in groups for name in group.ready}
        return seats + [
            Seat(worker_id=None, ready=frozenset({name}), home=frozenset({name}), load_s=held[name])
            for name in unserved
        ]

    def _demands(
        self, hungry: dict[str, list[Claimant]], queued: Counter[str], now: datetime
    ) -> list[Demand]:
        """Return the pipelines that want to be served, the least recently fed first."""
        return [
            Demand(
                pipeline=pipeline,
                priority=max(claimant.priority for claimant in hungry[pipeline]),
                ahead_s=ahead_s(hungry[pipeline], self._settings),
                overdue=(now - fed).total_seconds() > self._settings.switch_after_s,
            )
            for pipeline, fed in self._fed.items()
            if hungry.get(pipeline) and queued[pipeline] < self._settings.window_jobs
        ]

    def _note(
        self, seat: Seat, pipeline: str, claimant: Claimant, count: int, now: datetime
    ) -> None:
        """Keep account of what was given to whom; nothing to give counts as having had a turn."""
        seconds = count * claimant.cost_s
        self._shares[pipeline].charge(claimant, seconds)
        self._feed(pipeline, now)
        seat.load_s += seconds
        if count and seat.worker_id is not None:
            self._last[seat.worker_id] = pipeline
            seat.home = home_of(seat.home, pipeline)

    def _feed(self, pipeline: str, now: datetime) -> None:
        """Note when a pipeline had its turn; it is the last in turn then."""
        del self._fed[pipeline]
        self._fed[pipeline] = now


def bundle_size(cost_s: float, settings: Settings) -> int:
    """Return how many jobs of this cost make a bundle."""
    return max(1, min(settings.bundle_jobs, int(settings.bundle_s / max(cost_s, 1e-6))))


def ahead_s(claimants: Sequence[Claimant], settings: Settings) -> float:
    """Return the load, in seconds, up to which a worker is given one more bundle of a pipeline.

    That is half a bundle, so that the next one is fetched in time and a newcomer finds little
    before it, but at least one job: one is on the device, one fetched for it. It goes by the
    quickest batch: one of long jobs beside it must not let the quick one's pile up, and one long
    job fills the window by itself, until it is done.
    """
    return max(AHEAD_S, min(_half_a_bundle_s(each.cost_s, settings) for each in claimants))


def _half_a_bundle_s(cost_s: float, settings: Settings) -> float:
    return max(cost_s, cost_s * bundle_size(cost_s, settings) / 2)


def split(taken: Sequence[Queued]) -> list[tuple[Ticket, ...]]:
    """Part a bundle so that each job that must run alone has a message of its own."""
    together = tuple(job.ticket for job in taken if not job.alone)
    alone: list[tuple[Ticket, ...]] = [(job.ticket,) for job in taken if job.alone]
    return [together, *alone] if together else alone


def claimants_by_pipeline(session: Session) -> dict[str, list[Claimant]]:
    """Return the active batches that may queue jobs, by the pipelines that their jobs need."""
    active = batches.active(session)
    typical = typical_costs(active)
    found: dict[str, list[Claimant]] = {}
    for batch in active:
        if batch.state in (BatchState.PAUSED, BatchState.CANCELLED):
            continue
        claimant = Claimant(
            batch_id=batch.id,
            owner=batch.owner,
            priority=batch.priority,
            cost_s=expected_cost(batch, typical.get(batch.endpoint, UNKNOWN_COST_S)),
        )
        for pipeline in batch.pipelines:
            found.setdefault(pipeline, []).append(claimant)
    return found


def typical_costs(active: Sequence[Batch]) -> dict[str, float]:
    """Return the mean device time of a job of each endpoint, where anything is known of it."""
    known = [batch for batch in active if batch.succeeded]
    return {
        endpoint: sum(each.device_s for each in known if each.endpoint == endpoint)
        / sum(each.succeeded for each in known if each.endpoint == endpoint)
        for endpoint in {batch.endpoint for batch in known}
    }


def expected_cost(batch: Batch, typical_s: float) -> float:
    """Return the mean device time of the batch's finished jobs, in seconds; else the typical."""
    mean = batch.device_s / batch.succeeded if batch.succeeded else typical_s
    return max(mean, LEAST_COST_S)
