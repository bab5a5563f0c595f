"""What the engine is told to do to its jobs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from scheduler.ledger.jobs import Ending
from workers.life import Life

Fetched = TypeVar("Fetched")
Enlarged = TypeVar("Enlarged")


@dataclass(frozen=True, kw_only=True)
class Together(Generic[Fetched, Enlarged]):
    """How several jobs share one call on the device.

    Attributes:
        has_room: Tells whether a job can join those that are given before it; asked about jobs in
            the order in which they came, so that none overtakes another.
        upscale: Does all of them, and returns what each became, or what it raised, which is then
            done alone; may raise anything about all of them.
    """

    has_room: Callable[[Sequence[tuple[Life, Fetched]], tuple[Life, Fetched]], bool]
    upscale: Callable[[Sequence[tuple[Life, Fetched]]], Sequence[Enlarged | Exception]]


@dataclass(frozen=True, kw_only=True)
class Stages(Generic[Fetched, Enlarged]):
    """What is done to one job, in three steps; each may raise anything.

    Attributes:
        fetch: Runs on several threads: reads and decodes the input, or says how a job ended that
            needs nothing computed.
        upscale: Runs on the device thread.
        store: Runs on several threads: encodes and stores, and says how the job ended.
        together: Runs on the device thread as well, instead of `upscale`; None where jobs are
            always done one by one.
    """

    fetch: Callable[[Life], Fetched | Ending]
    upscale: Callable[[Life, Fetched], Enlarged]
    store: Callable[[Life, Enlarged], Ending]
    together: Together[Fetched, Enlarged] | None = None
