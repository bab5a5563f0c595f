"""Which worker gets the next bundle, of which pipeline: rather one that has the pipeline resident.

Loading a pipeline takes seconds and moves gigabytes. So a worker stays with what it has; it is
given something else only when nothing of its own waits, or when another pipeline has been left
waiting for too long.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(kw_only=True)
class Seat:
    """A worker, or, without an id, the queue of a pipeline that no living worker can serve.

    Attributes:
        worker_id: Whose queue bundles go to; None for the pipeline's own.
        ready: Pipelines that it can serve.
        home: Pipelines that it can serve without loading anything.
        load_s: Expected device time of all it was given and has not finished, in seconds.
    """

    worker_id: UUID | None
    ready: frozenset[str]
    home: frozenset[str]
    load_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Demand:
    """A pipeline with jobs that wait.

    Attributes:
        pipeline: Its name.
        priority: The highest among its batches.
        ahead_s: A worker whose load is not above this is given more of it.
        overdue: It was left waiting for longer than the settings allow.
    """

    pipeline: str
    priority: int
    ahead_s: float
    overdue: bool = False


def home_of(resident: Iterable[str], last: str | None) -> frozenset[str]:
    """Return what a worker can do without loading, once it has done all it was given.

    Args:
        resident: What was on its device when it last said so.
        last: The pipeline that it was given last. If that was not on the device by then, it has to
            be loaded still, and nobody knows what leaves the device for it.
    """
    known = frozenset(resident)
    return known if last is None or last in known else frozenset({last})


def place(seats: Sequence[Seat], demands: Sequence[Demand]) -> tuple[Seat, Demand] | None:
    """Choose the next bundle's pipeline and worker; None when nobody has room for anything.

    Args:
        seats: All that bundles can be sent to.
        demands: What waits, the least recently fed first.
    """
    staff = Counter(pipeline for seat in seats for pipeline in seat.home)
    pairs = [
        (_rank(seat, demand, staff[demand.pipeline], turn), seat, demand)
        for seat in seats
        for turn, demand in _options(seat, demands)
        if seat.load_s <= demand.ahead_s
    ]
    if not pairs:
        return None
    _, seat, demand = min(pairs, key=lambda pair: pair[0])
    return seat, demand


def _options(seat: Seat, demands: Sequence[Demand]) -> list[tuple[int, Demand]]:
    """Return what a worker may be given: what it has at home and what is overdue, or else all.

    A priority goes before that: what waits with a lower one than something that the worker can
    serve is no option, at home or not.
    """
    able = [(turn, each) for turn, each in enumerate(demands) if each.pipeline in seat.ready]
    highest = max((each.priority for _, each in able), default=0)
    first = [(turn, each) for turn, each in able if each.priority == highest]
    at_home = any(each.pipeline in seat.home for _, each in first)
    return [
        (turn, each)
        for turn, each in first
        if not at_home or each.overdue or each.pipeline in seat.home
    ]


def _rank(
    seat: Seat, demand: Demand, staff: int, turn: int
) -> tuple[int, bool, bool, int, int, float]:
    return (
        -demand.priority,
        not demand.overdue,
        demand.pipeline not in seat.home,
        staff,
        turn,
        seat.load_s,
    )
