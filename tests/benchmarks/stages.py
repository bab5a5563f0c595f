"""What the engine under test does to a job: nothing, or real transfers around a mock device."""

import json
import time
from collections.abc import Callable
from typing import Any

from scheduler.ledger.jobs import Ending
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from scheduler.storage import open_storage
from workers.engine import Stages
from workers.life import Life

DEVICE_S = 0.05
"""How long a job holds the device: it sleeps, as a thread does that waits for a GPU."""


def noop(_settings: Settings, _spans: list[tuple[float, float]]) -> Stages[None, None]:
    """Return stages that do nothing at all."""
    outcome = json.dumps({"objects": [], "body": {}})

    def store(life: Life, _enlarged: None) -> Ending:
        return Ending(ticket=life.ticket, state=JobState.SUCCEEDED, outcome=outcome)

    return Stages(fetch=lambda _life: None, upscale=lambda _life, _fetched: None, store=store)


def transfers(settings: Settings, spans: list[tuple[float, float]]) -> Stages[bytes, bytes]:
    """Return stages that fetch and store by boto3, and note when the device was busy."""
    storage = open_storage(settings)

    def fetch(life: Life) -> bytes:
        return storage.read(life.job.source, max_bytes=settings.max_input_bytes).data

    def upscale(_life: Life, fetched: bytes) -> bytes:
        began = time.perf_counter()
        time.sleep(DEVICE_S)
        spans.append((began, time.perf_counter()))
        return fetched

    def store(life: Life, enlarged: bytes) -> Ending:
        stored = storage.write(life.job.destination, enlarged, content_type="image/png")
        return Ending(
            ticket=life.ticket,
            state=JobState.SUCCEEDED,
            outcome=json.dumps({"objects": [{"etag": stored.etag}], "body": {}}),
            bytes_out=stored.size,
            device_s=life.device_s,
        )

    return Stages(fetch=fetch, upscale=upscale, store=store)


KINDS: dict[str, Callable[[Settings, list[tuple[float, float]]], Stages[Any, Any]]] = {
    "noop": noop,
    "transfers": transfers,
}
