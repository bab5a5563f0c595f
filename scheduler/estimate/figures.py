"""From a sample that was run to what all rows will take: pure arithmetic.

A worker is a line of three stages that work at the same time on different images: threads that
fetch and decode, the device, threads that encode and store. In the long run the slowest sets the
pace, so an image costs

    max(mean of fetch + decode / fetching threads, mean of device, mean of encode + store / storing
    threads)

seconds of a worker. How far that may be off is told by the bootstrap (B. Efron, 1979): the same
arithmetic on samples drawn from the sample, with replacement. Failures are counted, not measured;
theirs is Wilson's score interval (1927), which does not claim certainty where none was seen.
"""

import math
import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from scheduler.estimate.sample import SEED
from scheduler.ledger.rows import RowRecord
from scheduler.ledger.tables import JobState

RESAMPLES = 1000
COVERED = 0.9
"""How often the truth is expected between both ends of a range."""
Z = 1.6449
"""Of the normal distribution, for `COVERED`."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """A figure, and between what it lies nine times in ten."""

    likely: float
    low: float
    high: float

    def times(self, factor: float) -> "Range":
        """Return all three scaled."""
        return Range(likely=self.likely * factor, low=self.low * factor, high=self.high * factor)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """What one image of the sample took.

    Attributes:
        fetch_s: Of a fetching thread, decoding included.
        device_s: Of the device.
        store_s: Of a storing thread, encoding included.
        bytes_out: Written.
    """

    fetch_s: float
    device_s: float
    store_s: float
    bytes_out: int


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """Who will do the work.

    Attributes:
        workers: How many; at least one.
        fetch_threads: Of each.
        store_threads: Of each.
    """

    workers: int
    fetch_threads: int
    store_threads: int


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a batch will take.

    Attributes:
        rows: That name an image; the figures are about these.
        rejected: Rows that don't.
        sampled: Rows that were run for it.
        workers: Who would do it.
        duration_s: From the first to the last image, with those workers and nothing else to do.
        worker_s: Of all workers together.
        bytes_out: Of results.
        failures: Rows without a result, the rejected ones not among them.
    """

    rows: int
    rejected: int
    sampled: int
    workers: int
    duration_s: Range
    worker_s: Range
    bytes_out: Range
    failures: Range


def estimate(
    ran: Sequence[RowRecord],
    *,
    rows: int,
    rejected: int,
    fleet: Fleet,
    warm: Collection[str] = (),
) -> Estimate:
    """Conclude from some rows to all.

    Args:
        ran: The sample as it ended; at least one row.
        rows: How many there are in all, the sample among them.
        rejected: As for `Estimate`.
        fleet: Who will do it.
        warm: Names of workers that had the model before the sample began.
    """
    failed = sum(row.state != JobState.SUCCEEDED for row in ran)
    pace, written = _resampled([timing(row) for row in settled(ran, warm)], fleet)
    worker_s = pace.times(rows)
    return Estimate(
        rows=rows,
        rejected=rejected,
        sampled=len(ran),
        workers=fleet.workers,
        duration_s=worker_s.times(1 / fleet.workers),
        worker_s=worker_s,
        bytes_out=written.times(rows),
        failures=wilson(failed, len(ran)).times(rows),
    )


def settled(ran: Sequence[RowRecord], warm: Collection[str]) -> list[RowRecord]:
    """Leave out what a worker that was not warm did in its first call: that loaded the model.

    Images that shared a call have the same share of its time. Where nothing would be left, all
    of it stays.
    """
    first: dict[str, float | None] = {}
    for row in sorted((row for row in ran if row.ended_at), key=lambda row: str(row.ended_at)):
        if row.worker is not None and row.worker not in warm:
            first.setdefault(row.worker, row.device_s)
    kept = [row for row in ran if row.worker not in first or row.device_s != first[row.worker]]
    return kept if any(row.state == JobState.SUCCEEDED for row in kept) else list(ran)


def timing(row: RowRecord) -> Timing:
    """Return what an image took; one without a result took its time before the device."""
    if row.state != JobState.SUCCEEDED:
        return Timing(fetch_s=row.total_s or 0.0, device_s=0.0, store_s=0.0, bytes_out=0)
    took = row.timings
    return Timing(
        fetch_s=took.get("fetch_s", 0.0) + took.get("decode_s", 0.0),
        device_s=took.get("device_s", 0.0),
        store_s=took.get("encode_s", 0.0) + took.get("store_s", 0.0),
        bytes_out=sum(each["size_bytes"] for each in row.objects),
    )


def _resampled(timings: Sequence[Timing], fleet: Fleet) -> tuple[Range, Range]:
    """Return a worker's seconds and the bytes for each image."""
    chance = random.Random(SEED)  # noqa: S311 - no secret
    drawn = [chance.choices(timings, k=len(timings)) for _ in range(RESAMPLES)]
    pace = _between(_pace(timings, fleet), (_pace(each, fleet) for each in drawn))
    return pace, _between(_written(timings), map(_written, drawn))


def _pace(timings: Sequence[Timing], fleet: Fleet) -> float:
    count = len(timings)
    return max(
        sum(each.fetch_s for each in timings) / count / fleet.fetch_threads,
        sum(each.device_s for each in timings) / count,
        sum(each.store_s for each in timings) / count / fleet.store_threads,
    )


def _written(timings: Sequence[Timing]) -> float:
    return sum(each.bytes_out for each in timings) / len(timings)


def _between(likely: float, others: Iterable[float]) -> Range:
    """Return a figure with the percentiles of its resampled ones."""
    found = sorted(others)
    edge = round(len(found) * (1 - COVERED) / 2)
    return Range(likely=likely, low=found[edge], high=found[-1 - edge])


def wilson(count: int, of: int) -> Range:
    """Return a share, and the score interval around it."""
    share, spread = count / of, Z * Z / of
    middle = (share + spread / 2) / (1 + spread)
    reach = math.sqrt(share * (1 - share) * spread + spread * spread / 4) / (1 + spread)
    return Range(likely=share, low=max(0.0, middle - reach), high=min(1.0, middle + reach))
