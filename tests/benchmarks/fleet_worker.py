"""A worker of a small fleet: all is real but the device, which holds one pipeline at a time.

Run as `python -m tests.benchmarks.fleet_worker PLACEMENT COUNT`: `own` has a queue of its own as
workers have, `shared` takes from all pipelines' queues in turn; COUNT is the file that gets the
number of loads when SIGTERM ends the worker.
"""

import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from uuid_utils.compat import uuid7

from models.version import VERSION
from scheduler import broker
from scheduler.ledger import fleet
from scheduler.ledger.jobs import Ending
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from workers import tasks
from workers.consumer import Consumer
from workers.engine import Engine
from workers.heartbeat import Heartbeat, Lease
from workers.life import Life
from workers.stages import Stages

PIPELINES = ("bench/one", "bench/other")
JOB_S = 0.02
LOAD_S = 0.1
"""Five times a job, as 5 s are for jobs of a second."""
OUTCOME = json.dumps({"objects": [], "body": {}})


class Device:
    """Sleeps for a job, and longer for one of another pipeline than the last.

    Attributes:
        resident: The pipeline that was loaded last.
        loads: How often one was.
    """

    def __init__(self) -> None:
        self.resident: str | None = None
        self.loads = 0

    def upscale(self, life: Life, _fetched: None) -> None:
        """Do one job."""
        if life.job.pipeline != self.resident:
            time.sleep(LOAD_S)
            self.resident = life.job.pipeline
            self.loads += 1
        time.sleep(JOB_S)

    def stages(self) -> Stages[None, None]:
        """Return stages of which only the device takes time."""
        return Stages(fetch=lambda _life: None, upscale=self.upscale, store=_store)


def _store(life: Life, _enlarged: None) -> Ending:
    # The load belongs to the pipeline, not to the job that came first.
    return Ending(ticket=life.ticket, state=JobState.SUCCEEDED, outcome=OUTCOME, device_s=JOB_S)


def main(placement: str, count_file: Path) -> None:
    """Work until SIGTERM."""
    settings, device, worker_id = Settings(), Device(), uuid7()
    ledger, own_line = Ledger(settings, connections=5), Ledger(settings, connections=1)
    engine = Engine(ledger, worker_id, device.stages(), settings)

    def describe() -> fleet.Self:
        resident: dict[str, Any] = {device.resident: 1} if device.resident else {}
        return fleet.Self(
            id=worker_id,
            name=count_file.name,
            device="pretended",
            memory_bytes=1,
            version=VERSION,
            ready=PIPELINES,
            resident=resident,
        )

    app = broker.make_app(settings)
    queues = [broker.queue_name(pipeline) for pipeline in PIPELINES]
    if placement == "own":
        queues.insert(0, broker.worker_queue(worker_id))
    else:
        app.conf.broker_transport_options["queue_order_strategy"] = "round_robin"
    lease = Lease(settings.lease_s)
    heartbeat = Heartbeat(own_line, lease, engine, describe, lease_s=settings.lease_s)
    tasks.register(app, engine.run)
    consumer = Consumer(app, queues)
    signal.signal(signal.SIGTERM, lambda _number, _frame: consumer.stop())
    engine.start()
    heartbeat.start(threading.Event())
    consumer.run()
    engine.drain(settings.grace_s)
    heartbeat.stop()
    ledger.close()
    own_line.close()
    count_file.write_text(str(device.loads))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
