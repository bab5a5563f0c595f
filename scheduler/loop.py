"""The scheduler's process: one leader that reads sources, dispatches, sweeps, counts and reports.

Any number of these may run. The one that holds an advisory lock works; the others wait for it.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import structlog
from psycopg import Connection as PsycopgConnection
from sqlalchemy import Connection, text

from models.errors import WorldError
from scheduler import broker, keeping, pulse
from scheduler.discarding import Discarder
from scheduler.dispatch import Dispatcher
from scheduler.duties import Duty, attended, wake
from scheduler.files.purge import Purger
from scheduler.ingest import Reader
from scheduler.ledger import batches, feeds, requests
from scheduler.ledger.session import Ledger, database_time, upgrade
from scheduler.reporter import Reporter
from scheduler.settings import Settings
from scheduler.steering import Steerer
from scheduler.stopping import stop_event
from scheduler.storage import Storage, open_storage
from scheduler.sweep import Sweeper
from scheduler.triggers import intake
from scheduler.webhooks.process import sending

log = structlog.get_logger()

LEADER = 0x656E6C62  # the advisory lock's key; any constant serves
LEISURE = 10.0
"""Rests of a duty that nobody waits for."""
EXPIRE_AT_ONCE = 500
KEEP_S = 3600.0
PURGE_S = 30.0


def run(settings: Settings) -> None:
    """Be a scheduler until SIGTERM or SIGINT.

    Raises:
        SettingsInvalid: The database or Redis is not set.
    """
    stop = stop_event()
    broker.redis_url(settings)
    was_away = wait_for_ledger(settings, stop)
    with sending(settings, stop):  # leader or not: any number of senders may run
        _stand(settings, stop, was_away=was_away)


def _stand(settings: Settings, stop: threading.Event, *, was_away: bool) -> None:
    """Lead whenever nobody else does, until stopped."""
    ledger = Ledger(settings)
    while not stop.is_set():
        pulse.beat(settings)
        try:
            with leadership(ledger) as line:
                if line is not None:
                    # While the ledger is away nobody can renew a lease: that is no worker's fault.
                    _lead(settings, ledger, line, stop, mercy_s=settings.lease_s * was_away)
        except WorldError as exc:
            log.warning("ledger.unavailable", reason=str(exc))
            was_away = True
        stop.wait(settings.poll_s)
    ledger.close()


def wait_for_ledger(settings: Settings, stop: threading.Event) -> bool:
    """Migrate; a database that is still starting is waited for. Tell whether it was away."""
    was_away = False
    while not stop.is_set():
        pulse.beat(settings)
        try:
            upgrade(settings)
        except WorldError as exc:
            log.warning("ledger.unavailable", reason=str(exc))
            was_away = True
            stop.wait(settings.poll_s)
        else:
            break
    return was_away


@contextmanager
def leadership(ledger: Ledger) -> Iterator[Connection | None]:
    """Yield a connection that holds the leader's lock and listens; None where another holds it."""
    with ledger.autocommit() as connection:
        leads = connection.scalar(text("select pg_try_advisory_lock(:key)"), {"key": LEADER})
        if not leads:
            yield None
            return
        connection.execute(text(f"listen {batches.CHANNEL}"))
        try:
            yield connection
        finally:
            if not connection.invalidated:
                connection.execute(text("select pg_advisory_unlock(:key)"), {"key": LEADER})
                connection.execute(text(f"unlisten {batches.CHANNEL}"))


def _lead(
    settings: Settings,
    ledger: Ledger,
    line: Connection,
    stop: threading.Event,
    *,
    mercy_s: float,
) -> None:
    """Do every duty until told to stop, or until the connection with the lock is gone."""
    log.info("leader.elected")
    hurrying = threading.Event()
    duties = [*_duties(settings, ledger, mercy_s), _hurrying(settings, hurrying)]
    # Apart, since a notification of the ledger's says nothing of a queue.
    queues = _queue_duties(ledger, settings)
    try:
        with attended([*duties, *queues], stop):
            _listen(line, duties, hurrying, settings, stop)
    finally:
        log.info("leader.resigned")


def _duties(settings: Settings, ledger: Ledger, mercy_s: float) -> list[Duty]:
    storage = open_storage(settings)
    dispatcher = Dispatcher(ledger, broker.make_app(settings), settings)
    sweeper = Sweeper(ledger, broker.connect(settings), settings, mercy_s=mercy_s)
    dispatching = threading.Event()
    reporting = threading.Event()
    reader = Reader(ledger, storage, settings, read=dispatching.set)
    reporter = Reporter(ledger, storage, settings)

    def dispatch() -> bool:
        with ledger.begin(durable=False) as session:
            now = database_time(session)
        return dispatcher.step(now) > 0

    def sweep() -> bool:
        with ledger.begin(durable=False) as session:
            now = database_time(session)
        sweeper.step(now)
        return False

    def keep() -> bool:
        keeping.step(ledger, settings)
        return False

    def account() -> bool:
        if settle(ledger):
            reporting.set()
        return False

    keep_s = settings.keep_results_s
    discarding = () if keep_s is None else (_discarding(ledger, storage, settings, keep_s),)
    purging = () if settings.files is None else (_purging(ledger, settings),)
    return [
        *purging,
        *discarding,
        Duty("read", reader.step, settings.poll_s),
        Duty("dispatch", dispatch, min(settings.poll_s, 0.2), wake=dispatching),
        Duty("sweep", sweep, settings.sweep_s, LEISURE),
        Duty("steer", Steerer(ledger).step, settings.poll_s, LEISURE),
        Duty("feeds", lambda: close_feeds(ledger), settings.poll_s),
        Duty("account", account, min(settings.poll_s, 0.25), LEISURE),
        Duty("expire", lambda: expire(ledger), settings.poll_s),
        Duty("keep", keep, KEEP_S, patient=True),
        Duty("report", reporter.step, settings.poll_s, wake=reporting),
        Duty("release", lambda: intake.release(ledger), settings.poll_s),
    ]


def _discarding(ledger: Ledger, storage: Storage, settings: Settings, keep_s: float) -> Duty:
    return Duty(
        "discard", Discarder(ledger, storage, settings, keep_s=keep_s).step, KEEP_S, patient=True
    )


def _purging(ledger: Ledger, settings: Settings) -> Duty:
    """Return the duty to delete files of requests; without ENLARGER_FILES there are none."""
    return Duty("purge", Purger(ledger, settings).step, PURGE_S, patient=True)


def _hurrying(settings: Settings, wanted: threading.Event) -> Duty:
    """Return the duty to hurry the workers whenever that is wanted."""
    client = broker.connect(settings)

    def hurry() -> bool:
        if wanted.is_set():
            wanted.clear()
            broker.hurry_workers(client, settings)
        return False

    return Duty("hurry", hurry, settings.poll_s)


def _queue_duties(ledger: Ledger, settings: Settings) -> list[Duty]:
    if not settings.event_queues:
        return []
    from scheduler.triggers import queues  # boto3: only where there are queues

    return queues.duties(ledger, settings)


def close_feeds(ledger: Ledger) -> bool:
    """Close the feeds' batches whose day is over; tell that nothing is left to do at once."""
    with ledger.begin() as session:
        over = feeds.over(session)
    for batch_id in over:
        with ledger.begin() as session:
            feeds.close(session, batch_id)
    return False


def expire(ledger: Ledger) -> bool:
    """End requests that had to start by now; tell whether there may be more."""
    with ledger.begin() as session:
        return requests.expire(session, limit=EXPIRE_AT_ONCE) == EXPIRE_AT_ONCE


def settle(ledger: Ledger) -> int:
    """Fold the counters, end what is complete, and return how many batches ended."""
    with ledger.begin() as session:
        batches.fold(session)
        return len(batches.end_complete(session))


def _listen(
    line: Connection,
    duties: Sequence[Duty],
    hurrying: threading.Event,
    settings: Settings,
    stop: threading.Event,
) -> None:
    """Wake the duties at every notification, until stopped; `hurrying` is set where it says so.

    Raises:
        LedgerUnavailable: The connection, and with it the lock, is gone.
    """
    raw = line.connection.driver_connection
    assert isinstance(raw, PsycopgConnection)
    while not stop.is_set():
        pulse.beat(settings)
        heard = list(raw.notifies(timeout=min(settings.poll_s, 0.5), stop_after=1))
        if heard:
            if heard[0].payload == batches.HURRY:
                hurrying.set()
            wake(duties)
        else:
            raw.execute("select 1")  # notices a server that went away without a word
