"""Every part of a system writes into one trace of each job, and none does where traces are off."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from ipaddress import ip_network
from uuid import UUID

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scheduler import broker, traces
from scheduler.dispatch import Dispatcher
from scheduler.ledger import queueing
from scheduler.ledger.jobs import Ticket
from scheduler.ledger.session import Ledger, database_time
from scheduler.settings import Settings
from tests.api.live import live
from tests.consumer import consumer
from tests.factories import ENDPOINT, make_batch
from tests.processes import eventually
from tests.scheduler.test_webhook_sender import sender
from tests.workers.rig import Rig, make_stages, rig
from workers.life import Life

CALLERS = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.fixture
def written() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    traces.write_to(SimpleSpanProcessor(exporter), "test")
    yield exporter
    traces.write_to(None, "test")


def fetch(life: Life) -> None:
    with life.timed("fetch_s"):
        pass


def dispatched(running: Rig, settings: Settings) -> list[Ticket]:
    """Let the scheduler hand out what waits, and return what the worker finds in its queue."""
    with running.ledger.begin() as session:
        now = database_time(session)
    Dispatcher(running.ledger, broker.make_app(settings), settings).step(now)
    queue = broker.worker_queue(running.worker_id)
    return list(broker.presence(broker.connect(settings), settings, [queue]).listed)


def of(exporter: InMemorySpanExporter, id_: UUID) -> dict[str, ReadableSpan]:
    """Return a trace's spans by their names, in order."""
    spans: Sequence[ReadableSpan] = exporter.get_finished_spans()
    return {each.name: each for each in spans if (each.attributes or {})["enlarger.id"] == str(id_)}


def test_a_request_is_one_trace_from_its_submission_to_its_delivery(
    settings: Settings, ledger: Ledger, written: InMemorySpanExporter
) -> None:
    open_to_us = {"webhook_allow": (ip_network("127.0.0.1/32"),)}
    settings = settings.model_copy(update=open_to_us)
    stages = make_stages(fetch=fetch)
    with live(settings) as api, rig(ledger, settings, stages) as worker, consumer() as hook:
        with api.client(headers={"traceparent": CALLERS}) as client:
            body = {"image_url": "https://example.org/a.png"}
            answer = client.post(f"/queue/{ENDPOINT}", json=body, params={"fal_webhook": hook.url})
        worker.run(dispatched(worker, settings))
        with sender(settings):
            eventually(lambda: len(hook.received) == 1)
    found = of(written, UUID(answer.json()["request_id"]))

    assert list(found) == ["submit", "dispatch", "fetch", "device", "job", "deliver"]
    first = found.pop("job")
    assert first.parent is None
    assert first.attributes is not None
    assert first.attributes["state"] == "succeeded"
    for span in found.values():
        assert span.parent is not None
        assert span.context.trace_id == first.context.trace_id
        assert span.parent.span_id == first.context.span_id
        assert span.end_time is not None
        assert span.start_time is not None
        assert span.start_time <= span.end_time
    (link,) = found["submit"].links
    assert f"{link.context.trace_id:032x}" in CALLERS


def test_a_job_that_was_swept_up_stays_in_its_trace(
    settings: Settings, ledger: Ledger, written: InMemorySpanExporter
) -> None:
    make_batch(ledger, 1)
    with rig(ledger, settings) as worker:
        (ticket,) = dispatched(worker, settings)
        with ledger.begin() as session:  # as a sweep does where a message was lost
            assert queueing.unqueue(session, [ticket])
        broker.forget_workers(broker.connect(settings), settings, [worker.worker_id])
        worker.run(dispatched(worker, settings))
    spans = written.get_finished_spans()

    assert [each.name for each in spans] == ["dispatch", "dispatch", "device", "job"]
    assert {each.context.trace_id for each in spans} == {traces.ids_of(ticket.job_id).trace}


def test_where_traces_are_off_nothing_of_the_sdk_is_loaded() -> None:
    code = (
        "import sys; from scheduler import traces; from scheduler.settings import Settings;"
        "import uuid; traces.configure(Settings(), 'x'); traces.note('a', uuid.uuid4(), 1);"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
