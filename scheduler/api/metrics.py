"""The figures that Prometheus reads: of the system, from the ledger; of HTTP, from this process."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from scheduler.ledger import figures
from scheduler.ledger.figures import Backlog, Fleet, Snapshot, WorkerFigures
from scheduler.ledger.fleet import BUCKETS_S
from scheduler.ledger.session import Ledger

LABELS = ("method", "route", "status")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)


class HttpFigures:
    """What this process answered, and how long it took."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "enlarger_http_requests", "Requests answered.", LABELS, registry=self.registry
        )
        self._seconds = Histogram(
            "enlarger_http_request_seconds",
            "From a request's head to the end of its answer; streams are as long as they last.",
            ("route",),
            buckets=BUCKETS,
            registry=self.registry,
        )

    def note(self, *, method: str, route: str, status: int | None, seconds: float) -> None:
        """Count an answer; a route is a pattern, so there are few."""
        self._requests.labels(method, route or "none", str(status or 0)).inc()
        self._seconds.labels(route or "none").observe(seconds)


def exposition(ledger: Ledger, http: HttpFigures) -> bytes:
    """Return everything in Prometheus' text format.

    Raises:
        LedgerUnavailable: The system's figures can't be had; a scrape without them would lie.
    """
    with ledger.begin(durable=False) as session:
        found = figures.snapshot(session)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_OfSystem(found))
    return generate_latest(registry) + generate_latest(http.registry)


class _OfSystem(Collector):
    """Hands one snapshot of the ledger over."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics, in the order of the documentation."""
        found = self._snapshot
        yield from _backlog(found.backlog)
        yield _fleet(found.fleet)
        yield _gauge(
            "enlarger_leases",
            "Workers under a lease, by whether they renewed it in time.",
            "state",
            {"kept": found.leases.kept, "lapsed": found.leases.lapsed},
        )
        yield GaugeMetricFamily(
            "enlarger_workers_lost_hour",
            "Workers whose lease lapsed within the last hour.",
            found.leases.lost,
        )
        yield from _deliveries(found)
        yield _gauge(
            "enlarger_arrivals",
            "What buckets told of and became no job, counted up to a bound: messages that can't be"
            " understood, and objects whose trigger is paused.",
            "state",
            {"dead": found.arrivals.dead, "held": found.arrivals.held},
        )
        yield _ended(found.workers)
        yield _stages(found.workers)


def _backlog(backlog: list[Backlog]) -> Iterator[Metric]:
    labels = ("endpoint", "priority")
    jobs = GaugeMetricFamily(
        "enlarger_jobs", "Jobs that have not ended.", labels=(*labels, "state")
    )
    batches = GaugeMetricFamily("enlarger_batches", "Batches that have not ended.", labels=labels)
    for each in backlog:
        key = (each.endpoint, str(each.priority))
        batches.add_metric(key, each.batches)
        for state in ("waiting", "paused", "queued", "running"):
            jobs.add_metric((*key, state), getattr(each, state))
    return iter((jobs, batches))


def _fleet(fleet: list[Fleet]) -> Metric:
    metric = GaugeMetricFamily(
        "enlarger_workers",
        "Living workers that can serve an endpoint, by whether a job runs there.",
        labels=("endpoint", "device", "state"),
    )
    for each in fleet:
        for state in ("busy", "idle"):
            metric.add_metric((each.endpoint, each.device, state), getattr(each, state))
    return metric


def _deliveries(found: Snapshot) -> Iterator[Metric]:
    counts = found.deliveries
    states = ("noted", "undelivered", "paused", "dead")
    yield _gauge(
        "enlarger_deliveries",
        "Messages to webhooks that are not delivered, counted up to a bound.",
        "state",
        {state: getattr(counts, state) for state in states},
    )
    yield GaugeMetricFamily(
        "enlarger_deliveries_day",
        "Messages to webhooks that were delivered within the last 24 hours.",
        counts.delivered,
    )
    yield GaugeMetricFamily(
        "enlarger_delivery_oldest_seconds",
        "Age of the oldest message that is to be delivered; 0 where there is none.",
        counts.oldest_s or 0.0,
    )


def _ended(workers: list[WorkerFigures]) -> Metric:
    metric = CounterMetricFamily(
        "enlarger_jobs_ended",
        "Jobs that a worker ended since it started, by outcome, error and its kind.",
        labels=("worker", "endpoint", "state", "error", "kind"),
    )
    for worker in workers:
        for endpoint, state, error, jobs, kind in worker.ended:
            metric.add_metric((worker.name, endpoint, state, error, kind), jobs)
    return metric


def _stages(workers: list[WorkerFigures]) -> Metric:
    metric = HistogramMetricFamily(
        "enlarger_job_stage_seconds",
        "How long a stage of a job took: fetch, decode, device, encode, store.",
        labels=("worker", "endpoint", "stage"),
    )
    for worker in workers:
        for endpoint, stage, counts, sum_s in worker.stages:
            labels = (worker.name, endpoint, stage)
            metric.add_metric(labels, _cumulative(counts), sum_value=sum_s)
    return metric


def _cumulative(counts: list[int]) -> list[tuple[str, float]]:
    """Return buckets as Prometheus has them: each holds all that the ones before it do."""
    bounds = [*map(str, BUCKETS_S), "+Inf"]
    return [(bound, sum(counts[: at + 1])) for at, bound in enumerate(bounds)]


def _gauge(name: str, text: str, label: str, values: dict[str, int]) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=(label,))
    for value, number in values.items():
        metric.add_metric((value,), number)
    return metric
