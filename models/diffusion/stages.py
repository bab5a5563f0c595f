"""What is told and noted of a job's stages on their way."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from models.upscaler import Context


@dataclass
class Stages:
    """A job's stages.

    Attributes:
        context: The job's.
        share: Of all the work, before this pass and behind it.
        seconds: That each stage took, over all passes.
    """

    context: Context
    share: tuple[float, float] = (0.0, 1.0)
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage."""
        self.context.check_cancelled()
        began = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def tell(self, done: float, name: str) -> None:
        """Report how much of this pass is done, unless the job was cancelled."""
        self.context.check_cancelled()
        first, last = self.share
        self.context.progress(first + (last - first) * done, name)

    def within(self, first: float, last: float, name: str) -> Callable[[float, str], None]:
        """Return what tells another's progress as that of one stage of this pass."""

        def tell(done: float, _name: str) -> None:
            self.tell(first + (last - first) * done, name)

        return tell

    def counter(self, calls: int, first: float, last: float) -> Callable[[], None]:
        """Return what tells of denoising before each call of the networks."""
        called = iter(range(calls))

        def count() -> None:
            self.tell(first + (last - first) * next(called) / calls, "denoising")

        return count
