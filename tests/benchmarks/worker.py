"""The worker under test: the real Celery app, consumer, engine and ledger around other stages.

Run as `python -m tests.benchmarks.worker KIND SPANS`: the kind of stages, and the file that gets
the device's busy times, as JSON pairs of seconds, when SIGTERM ends the worker.
"""

import json
import signal
import sys
from pathlib import Path

from uuid_utils.compat import uuid7

from scheduler import broker
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from tests.benchmarks.stages import KINDS
from tests.factories import ENDPOINT
from workers import tasks
from workers.consumer import Consumer
from workers.engine import Engine


def main(kind: str, spans_file: Path) -> None:
    """Work until SIGTERM."""
    settings = Settings()
    spans: list[tuple[float, float]] = []
    ledger = Ledger(settings)
    engine = Engine(ledger, uuid7(), KINDS[kind](settings, spans), settings)
    engine.start()
    app = broker.make_app(settings)
    tasks.register(app, engine.run)
    consumer = Consumer(app, [broker.queue_name(ENDPOINT)])
    signal.signal(signal.SIGTERM, lambda _number, _frame: consumer.stop())
    consumer.run()
    engine.drain(settings.grace_s)
    ledger.close()
    spans_file.write_text(json.dumps(spans))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
