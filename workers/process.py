"""One worker process: what it is made of, and the order in which that starts and stops."""

import os
import socket
import threading
from collections.abc import Sequence

import structlog
from celery import Celery
from uuid_utils.compat import uuid7

from models import catalog
from models.version import VERSION
from scheduler import broker
from scheduler.errors import LedgerUnavailable, SettingsInvalid
from scheduler.ledger import fleet
from scheduler.ledger.session import Ledger, upgrade
from scheduler.settings import Settings
from scheduler.stopping import stop_event
from scheduler.storage import open_storage
from workers import mirror, patience, tasks
from workers.chronicle import Chronicle, to_stream
from workers.consumer import BUNDLES_AT_ONCE, Consumer
from workers.devices import Device
from workers.engine import Engine
from workers.heartbeat import Heartbeat, Lease
from workers.hurry import Listener
from workers.liveness import Liveness
from workers.residency import Residency
from workers.stock import Readiness, Stock, check_options, readiness
from workers.storeroom import Storeroom
from workers.workshop import Workshop

log = structlog.get_logger()


def run(settings: Settings, device: Device, wanted: Sequence[str]) -> bool:
    """Be a worker until SIGTERM or SIGINT.

    Args:
        settings: Of the system.
        device: Where models run.
        wanted: Endpoint ids; none stands for the whole catalogue.

    Returns:
        Whether it ended as it was told to, and not because something was wrong with it.

    Raises:
        SettingsInvalid: A setting is missing, or none of the wanted endpoints can be served.
    """
    settings = fitted(settings)
    stop = stop_event()
    app = broker.make_app(settings)
    stock = Stock(
        endpoints=catalog.ENDPOINTS,
        folder=mirror.local_folder(settings, open_storage(settings), wanted),
        chosen=settings.options,
    )
    check_options(stock)
    found = readiness(stock, wanted or list(catalog.ENDPOINTS))
    for pipeline, reason in found.not_ready.items():
        log.warning("pipeline.not_ready", pipeline=pipeline, reason=reason)
    if not found.ready:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in found.not_ready.items())
        message = f"endpoints: none of those wanted can be served here: {reasons}"
        raise SettingsInvalid(message, field="endpoints")
    try:
        patience.until(stop)(upgrade, settings)
    except LedgerUnavailable:
        return True  # stopped before the ledger ever answered
    worker = Worker(settings, device, stock, found)
    return worker.run(app, stop)


def fitted(settings: Settings) -> Settings:
    """Return settings whose storage gives up well before a lease can lapse.

    No upload may begin with less lease left than its timeout; with a timeout longer than what a
    renewed lease has left, none ever would.
    """
    longest = settings.lease_s / 2
    if settings.storage_timeout_s <= longest:
        return settings
    log.warning("storage_timeout.shortened", to_s=longest, lease_s=settings.lease_s)
    return settings.model_copy(update={"storage_timeout_s": longest})


class Worker:
    """The parts of one worker process, wired together."""

    def __init__(self, settings: Settings, device: Device, stock: Stock, found: Readiness) -> None:
        self._settings = settings
        self._device = device
        self._readiness = found
        self._id = uuid7()
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._stopping = False
        self._budget = settings.device_memory_bytes or device.memory_bytes
        self._ledger = Ledger(settings, connections=BUNDLES_AT_ONCE + 1)
        # The heartbeat must not wait for a connection behind anything else.
        self._own_line = Ledger(settings, connections=1)
        lease = Lease(settings.lease_s)
        self._residency = Residency(stock, device, budget_bytes=self._budget)
        storage = open_storage(settings)
        self._chronicle = Chronicle(to_stream(settings))
        workshop = Workshop(
            settings,
            worker=self._name,
            stock=stock,
            ledger=self._ledger,
            storage=storage,
            storeroom=Storeroom(storage, lease, settings),
            residency=self._residency,
            chronicle=self._chronicle,
        )
        self._engine = Engine(self._ledger, self._id, workshop.stages(), settings)
        self._heartbeat = Heartbeat(
            self._own_line, lease, self._engine, self._describe, lease_s=settings.lease_s
        )

    def run(self, app: Celery, stop: threading.Event) -> bool:
        """Work until `stop` is set; tell whether nothing else ended it."""
        try:
            self._heartbeat.start(stop)
        except LedgerUnavailable:
            return True
        self._chronicle.start()
        self._engine.start()
        tasks.register(app, self._engine.run)
        shared = [broker.queue_name(pipeline) for pipeline in self._readiness.ready]
        queues = [broker.worker_queue(self._id), *shared]
        consumer = Consumer(app, queues)
        stalled = threading.Event()

        def give_up() -> None:
            stalled.set()
            stop.set()

        liveness = Liveness(
            self._settings,
            queues,
            turned_at=lambda: consumer.last_turn,
            beats=self._heartbeat.is_alive,
            idle_s=self._engine.idle_s,
            on_device_s=self._engine.on_device_s,
            stalled=give_up,
        )
        hurry = Listener(self._settings, self._heartbeat.hurry)
        drain = threading.Thread(target=self._drain_when, args=(stop, consumer), name="drain")
        drain.start()
        liveness.start()
        hurry.start()
        log.info("worker.started", worker=self._name, device=self._device.id, queues=queues)
        consumed = consumer.run()
        stop.set()
        drain.join()
        hurry.stop()
        liveness.stop()
        self._sign_off()
        log.info("worker.stopped", worker=self._name)
        return consumed and not stalled.is_set()

    def _drain_when(self, stop: threading.Event, consumer: Consumer) -> None:
        """Wait for the word, then let the engine end; Celery ends with its last bundle."""
        stop.wait()
        log.info("worker.draining", worker=self._name, grace_s=self._settings.grace_s)
        consumer.stop()
        self._stopping = True
        self._heartbeat.hurry()  # what lies in our queue goes to others, not only once we are gone
        self._engine.drain(self._settings.grace_s)

    def _sign_off(self) -> None:
        self._heartbeat.stop()
        self._chronicle.close()
        try:
            with self._own_line.begin() as session:
                fleet.sign_off(session, self._id)
        except LedgerUnavailable as exc:
            log.warning("worker.lapses", worker=self._name, reason=str(exc))
        self._own_line.close()
        self._ledger.close()

    def _describe(self) -> fleet.Self:
        """Return the worker as it is now, for the fleet."""
        return fleet.Self(
            id=self._id,
            name=self._name,
            device=f"{self._device.id} {self._device.name}",
            memory_bytes=self._budget,
            version=VERSION,
            ready=self._readiness.ready,
            not_ready=self._readiness.not_ready,
            resident=self._residency.sizes(),
            stopping=self._stopping,
            figures=self._engine.tally.figures(),
        )
