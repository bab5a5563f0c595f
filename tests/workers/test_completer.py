"""Results on their way into the ledger while the ledger goes away."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg.conninfo import conninfo_to_dict

from scheduler.ledger.jobs import Ending
from scheduler.ledger.session import Ledger
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from tests.factories import make_batch
from tests.workers.rig import make_stages, rig, states_in_the_end, succeed
from workers.life import Life


def cut(postgres_url: str, database: str) -> None:
    """Do to a database's clients what a server does that restarts."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (database,)
        )


@contextmanager
def shut(postgres_url: str, database: str) -> Iterator[None]:
    """Let nobody into a database for a block."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"alter database {database} with allow_connections false")
        cut(postgres_url, database)
        try:
            yield
        finally:
            connection.execute(f"alter database {database} with allow_connections true")


def name_of(database_url: str) -> str:
    return str(conninfo_to_dict(database_url)["dbname"])


def test_claims_and_results_are_repeated_when_connections_break(
    ledger: Ledger, settings: Settings, postgres_url: str, database_url: str
) -> None:
    batch = make_batch(ledger, 6)

    def store(life: Life, _enlarged: None) -> Ending:
        cut(postgres_url, name_of(database_url))
        return succeed(life)

    with rig(ledger, settings, make_stages(store=store)) as it:
        tickets = it.queue(batch)
        for at in range(0, 6, 2):
            it.run(tickets[at : at + 2])

    assert states_in_the_end(settings, batch) == [JobState.SUCCEEDED] * 6


def test_a_result_waits_for_the_ledger_as_long_as_nobody_stops_the_worker(
    ledger: Ledger, settings: Settings, postgres_url: str, database_url: str
) -> None:
    batch = make_batch(ledger, 1)
    stored, closed = threading.Event(), threading.Event()

    def store(life: Life, _enlarged: None) -> Ending:
        stored.set()
        assert closed.wait(10)
        return succeed(life)

    with rig(ledger, settings, make_stages(store=store)) as it:
        run = it.hand_in(it.queue(batch))
        assert stored.wait(10)
        with shut(postgres_url, name_of(database_url)):
            closed.set()
            run.join(1.0)
            waits = run.is_alive()
        run.join(20)

    assert waits
    assert states_in_the_end(settings, batch) == [JobState.SUCCEEDED]


def test_a_worker_that_stops_while_the_ledger_is_away_does_not_wait_for_ever(
    ledger: Ledger, settings: Settings, postgres_url: str, database_url: str
) -> None:
    running, queued = make_batch(ledger, 1), make_batch(ledger, 1)
    stored, closed = threading.Event(), threading.Event()

    def store(life: Life, _enlarged: None) -> Ending:
        stored.set()
        assert closed.wait(10)
        return succeed(life)

    with rig(ledger, settings, make_stages(store=store)) as it:
        tickets = it.queue(queued)
        runs = [it.hand_in(it.queue(running))]
        assert stored.wait(10)
        with shut(postgres_url, name_of(database_url)):
            closed.set()
            runs.append(it.hand_in(tickets))
            it.engine.drain(0.1)
            for run in runs:
                run.join(20)
            ended = [not run.is_alive() for run in runs]

    assert ended == [True, True]
    assert states_in_the_end(settings, running) == [JobState.RUNNING], "the sweeper will find it"
