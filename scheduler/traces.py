"""Spans of jobs and batches for OpenTelemetry, from submission to delivery; off by default.

Nothing is handed on from process to process: a trace's id, and that of its first span, are made of
the job's or the batch's own id, which the ledger keeps. So a job that was swept up, or tried
again stays in its trace, and messages carry nothing more. A span is written when it is over.
"""

import time
from contextvars import ContextVar
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from scheduler.errors import SettingsInvalid
from scheduler.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

SENDS_S = 1.0
"""For each of the few parts that what waits is sent in. So a collector that is away holds up the
end of a process by some six seconds, within the time that it is given beyond its drain.
"""
NOT_INSTALLED = (
    "ENLARGER_TRACES_URL: traces need OpenTelemetry, which is not installed: "
    "pip install 'enlarger[traces]'"
)


class Ids(NamedTuple):
    """What a job's or a batch's own id makes of a trace: its id, and that of its first span."""

    trace: int
    first: int


_provider: "TracerProvider | None" = None
_first: ContextVar[Ids | None] = ContextVar("_first", default=None)
"""Set while the first span of a trace is written, which gets its ids from here."""


def ids_of(id_: UUID) -> Ids:
    """Return a trace's ids: random to look at, so that samplers may go by them."""
    digest = blake2b(id_.bytes, digest_size=24).digest()
    return Ids(int.from_bytes(digest[:16]), int.from_bytes(digest[16:]))


def configure(settings: Settings, service: str) -> None:
    """Let this process write spans, if `traces_url` is set; once, before it has threads.

    Raises:
        SettingsInvalid: OpenTelemetry is not installed.
    """
    if settings.traces_url is None:
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as exc:
        raise SettingsInvalid(NOT_INSTALLED, field="traces_url") from exc
    exporter = OTLPSpanExporter(endpoint=settings.traces_url, timeout=SENDS_S)
    write_to(BatchSpanProcessor(exporter), service)


def write_to(processor: "SpanProcessor | None", service: str) -> None:
    """Give spans to a processor from now on; None for nobody.

    The sampler is that of OpenTelemetry's own variables, such as OTEL_TRACES_SAMPLER.
    """
    global _provider
    if _provider is not None:
        _provider.shutdown()
    _provider = None
    if processor is not None:
        _provider = _provided(processor, service)


def _provided(processor: "SpanProcessor", service: str) -> "TracerProvider":
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Given(RandomIdGenerator):
        """Random, but for what begins a trace."""

        def generate_trace_id(self) -> int:
            first = _first.get()
            return super().generate_trace_id() if first is None else first.trace

        def generate_span_id(self) -> int:
            first = _first.get()
            return super().generate_span_id() if first is None else first.first

    resource = Resource.create({SERVICE_NAME: f"enlarger-{service}"})
    provider = TracerProvider(resource=resource, id_generator=Given(), shutdown_on_exit=True)
    provider.add_span_processor(processor)
    return provider


def note(
    name: str, id_: UUID, since_ns: int, *, caller: str | None = None, **about: str | int | float
) -> None:
    """Write a span that ends now, below the first one of its trace; nothing where traces are off.

    Args:
        name: What was done.
        id_: The job, or the batch, that it was done for.
        since_ns: When it began, by `time.time_ns`.
        caller: The `traceparent` of whoever asked for it; the span is linked to theirs.
        about: The span's attributes.
    """
    if _provider is not None:
        _write(_provider, name, id_, since_ns, caller=caller, about=about, first=False)


def note_first(name: str, id_: UUID, since_ns: int, **about: str | int | float) -> None:
    """Write the span that all others of a trace are below; once for each job and batch."""
    if _provider is not None:
        _write(_provider, name, id_, since_ns, caller=None, about=about, first=True)


def _write(
    provider: "TracerProvider",
    name: str,
    id_: UUID,
    since_ns: int,
    *,
    caller: str | None,
    about: dict[str, str | int | float],
    first: bool,
) -> None:
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    ids = ids_of(id_)
    below = trace.SpanContext(ids.trace, ids.first, is_remote=True, trace_flags=trace.TraceFlags(1))
    context = trace.set_span_in_context(trace.NonRecordingSpan(below), Context())
    links = []
    if caller is not None:
        found = TraceContextTextMapPropagator().extract({"traceparent": caller}, Context())
        theirs = trace.get_current_span(found).get_span_context()
        links = [trace.Link(theirs)] if theirs.is_valid else []
    token = _first.set(ids if first else None)
    try:
        span = provider.get_tracer("enlarger").start_span(
            name,
            Context() if first else context,
            attributes={"enlarger.id": str(id_), **about},
            links=links,
            start_time=since_ns,
        )
    finally:
        _first.reset(token)
    span.end(time.time_ns())
