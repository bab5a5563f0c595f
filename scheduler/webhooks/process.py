"""A sender in a thread of this process, with an event loop of its own."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import uvloop

from scheduler.files import room
from scheduler.ledger.session import Ledger
from scheduler.settings import Settings
from scheduler.webhooks.sender import Sender

log = structlog.get_logger()

CONNECTIONS = 4
LOOK_S = 0.2


@contextmanager
def sending(settings: Settings, stop: threading.Event) -> Iterator[None]:
    """Deliver messages until the block is left or `stop` is set.

    A thread, and not a child: it waits nearly all of its time, and a host that has much to deliver
    runs `enlarger sender` beside.

    Args:
        settings: Name the ledger; its schema must be there.
        stop: Set as well when the sender ends in a bug.

    Raises:
        SettingsInvalid: At once, if results can't be given their public addresses.
        SystemExit: On leaving, if the sender ended in a bug.
    """
    if settings.files is not None:
        room.check(settings)
    broken = threading.Event()
    ending = threading.Event()

    def serve() -> None:
        try:
            uvloop.run(_serve(settings, stop, ending))
        except Exception as exc:
            log.error("sender.crashed", exc_info=exc)
            broken.set()
            stop.set()

    thread = threading.Thread(target=serve, name="sender")
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
    if broken.is_set():
        reason = "the sender ended in a bug; see the log"
        raise SystemExit(reason)


async def _serve(settings: Settings, stop: threading.Event, ending: threading.Event) -> None:
    ledger = Ledger(settings, connections=CONNECTIONS)
    sender = Sender(ledger, settings)
    running = asyncio.create_task(sender.run())
    try:
        while not running.done() and not stop.is_set() and not ending.is_set():
            await asyncio.wait([running], timeout=LOOK_S)
        sender.stop()
        await running
    finally:
        ledger.close()
