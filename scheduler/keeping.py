"""The scheduler's duty to keep the ledger small: weeks are made ahead, and dropped when old."""

from collections.abc import Callable
from datetime import timedelta

import structlog

from scheduler.ledger import consumers, periods, retention, reuse, triggers, webhook_keys
from scheduler.ledger.retention import Pruned
from scheduler.ledger.session import Ledger, database_time
from scheduler.settings import Settings

log = structlog.get_logger()

WEEKS_AHEAD = 2
FORGET_AT_ONCE = 5000


def step(ledger: Ledger, settings: Settings) -> None:
    """Make the partitions of the coming weeks, and drop what is too old.

    Raises:
        LedgerUnavailable: Somebody reads what is to be dropped; it goes with a later step.
    """
    with ledger.begin() as session:
        now = periods.at(database_time(session))
        for period in range(now, now + WEEKS_AHEAD + 1):
            periods.ensure(session, period)
        consumers.forget_old(session)
        webhook_keys.forget_expired(session)
    forget_taken(ledger, settings)
    forget_dead(ledger, settings)
    prune_all(ledger, settings)
    expire(ledger, settings)


def expire(ledger: Ledger, settings: Settings) -> int:
    """Forget results that are too old to be reused, a chunk a transaction; count them.

    Raises:
        LedgerUnavailable: Try again.
    """
    return _forget_older(ledger, timedelta(seconds=settings.reuse_s), reuse.expire)


def forget_taken(ledger: Ledger, settings: Settings) -> None:
    """Forget which objects triggers took too long ago, and all of those that were removed."""
    while True:
        with ledger.begin() as session:
            age = _age(settings.keep_taken_s)
            before = None if age is None else database_time(session) - age
            if not triggers.forget(session, before=before, limit=FORGET_AT_ONCE):
                return


def forget_dead(ledger: Ledger, settings: Settings) -> None:
    """Forget messages that nobody understood as long ago as events are kept for."""
    age = _age(settings.keep_events_s or settings.keep_jobs_s)
    if age is not None:
        _forget_older(ledger, age, triggers.forget_dead)


def _forget_older(ledger: Ledger, age: timedelta, forget: Callable[..., int]) -> int:
    """Have what is older than `age` forgotten, a chunk a transaction; count it."""
    total = 0
    while True:
        with ledger.begin() as session:
            before = database_time(session) - age
            gone = forget(session, before=before, limit=FORGET_AT_ONCE)
        total += gone
        if gone < FORGET_AT_ONCE:
            return total


def prune_all(ledger: Ledger, settings: Settings) -> list[Pruned]:
    """Drop what is too old, a week a transaction, and say what that was.

    Raises:
        LedgerUnavailable: Somebody reads one of the weeks; those before it are dropped.
    """
    with ledger.begin() as session:
        found = periods.existing(session)
    pruned = []
    for period in found:
        with ledger.begin() as session:
            dropped = retention.prune(
                session,
                period,
                now=database_time(session),
                keep_jobs=_age(settings.keep_jobs_s),
                keep_events=_age(settings.keep_events_s),
                discards=settings.keep_results_s is not None,
            )
        if dropped is not None:
            log.info("week.pruned", since=str(periods.start(period).date()), jobs=dropped.jobs)
            pruned.append(dropped)
    return pruned


def _age(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
