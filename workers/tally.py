"""What became of this process's jobs, counted since it started; the heartbeat carries it."""

import json
import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping

from scheduler import traces
from scheduler.ledger.fleet import BUCKETS_S, EndedFigure, Figures, StageFigure
from scheduler.ledger.jobs import Ending
from workers.life import Life


class Tally:
    """Counts endings and how long each stage took; shared by threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ended: Counter[tuple[str, str, str, str]] = Counter()
        self._buckets: defaultdict[tuple[str, str], list[int]] = defaultdict(
            lambda: [0] * (len(BUCKETS_S) + 1)
        )
        self._sums: defaultdict[tuple[str, str], float] = defaultdict(float)

    def note(self, life: Life, ending: Ending) -> None:
        """Count a job whose ending is in the ledger."""
        endpoint = life.job.endpoint
        traces.note_first(
            "job",
            life.job.id,
            life.began_ns,
            endpoint=endpoint,
            state=str(ending.state),
            failures=life.job.failures,
        )
        error = {} if ending.error is None else json.loads(ending.error)
        code, kind = str(error.get("code", "")), str(error.get("kind", ""))
        with self._lock:
            self._ended[endpoint, str(ending.state), code, kind] += 1
            self._add_stages(endpoint, {**life.timings, "device_s": life.device_s})

    def _add_stages(self, endpoint: str, timings: Mapping[str, float]) -> None:
        for step, seconds in timings.items():
            stage = endpoint, step.removesuffix("_s")
            self._buckets[stage][bisect_left(BUCKETS_S, seconds)] += 1
            self._sums[stage] += seconds

    def figures(self) -> Figures:
        """Return the counts as they are now."""
        with self._lock:
            return Figures(
                ended=[
                    EndedFigure(endpoint, state, code, count, kind)
                    for (endpoint, state, code, kind), count in self._ended.items()
                ],
                stages=[
                    StageFigure(*stage, list(counts), round(self._sums[stage], 6))
                    for stage, counts in self._buckets.items()
                ],
            )
