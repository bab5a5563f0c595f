"""Which worker gets the next bundle, of which pipeline: rather one that has the pipeline resident.

Loading a pipeline takes seconds and moves gigabytes. So a worker stays with what it has; it is
given something else only when nothing of its own waits, or when another pipeline has been left
waiting for too long.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import TypeAlias
from uuid import UUID

Kind: TypeAlias = tuple[frozenset[str], frozenset[str]]
"""What makes seats alike: what they can serve, and what of it without loading."""


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


class Hall:
    """Seats, those alike together: of these the least loaded is looked at, however many they are.

    With 10,000 workers a look at each took 40 ms for every bundle.
    """

    def __init__(self, seats: Iterable[Seat]) -> None:
        """Let them in; of equals the one that came first is chosen first."""
        self._alike: dict[Kind, list[tuple[float, int, Seat]]] = {}
        self._staff: Counter[str] = Counter()
        for order, seat in enumerate(seats):
            self._let_in(order, seat)

    @contextmanager
    def place(self, demands: Sequence[Demand]) -> Iterator[tuple[Seat, Demand] | None]:
        """Choose the next bundle's pipeline and worker; yield None when nobody has room.

        What the seat has when the context is left, its load and its home, goes for the next choice.

        Args:
            demands: What waits, the least recently fed first.
        """
        pairs = [
            (_rank(seat, demand, self._staff[demand.pipeline], turn), order, kind, demand)
            for kind, alike in self._alike.items()
            for load_s, order, seat in alike[:1]
            for turn, demand in _options(seat, demands)
            if load_s <= demand.ahead_s
        ]
        if not pairs:
            yield None
            return
        _, order, kind, demand = min(pairs, key=lambda pair: pair[:2])
        seat = self._let_out(kind)
        yield seat, demand
        self._let_in(order, seat)

    def _let_in(self, order: int, seat: Seat) -> None:
        alike = self._alike.setdefault((seat.ready, seat.home), [])
        heappush(alike, (seat.load_s, order, seat))
        for pipeline in seat.home:
            self._staff[pipeline] += 1

    def _let_out(self, kind: Kind) -> Seat:
        _, _, seat = heappop(self._alike[kind])
        if not self._alike[kind]:
            del self._alike[kind]
        for pipeline in seat.home:
            self._staff[pipeline] -= 1
        return seat


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
