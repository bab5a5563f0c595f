from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import create_engine, make_url, text
from uuid_utils.compat import uuid7

from scheduler.errors import RowInvalid
from scheduler.ledger import batches, intake, periods
from scheduler.ledger.session import Ledger, migrations, revisions, upgrade, url
from scheduler.ledger.tables import Base, Job
from scheduler.settings import Settings
from tests.factories import make_batch, make_chunk, make_row, make_submission

LONG_AGO = UUID("018bcfe5-6800-7000-8000-000000000000")
"""2023-11-14."""


def test_a_job_id_is_its_batch_and_line() -> None:
    batch = uuid7()

    ids = [periods.job_id(batch, line) for line in (1, 2, 300)]

    assert ids == sorted(ids)
    assert {each.version for each in ids} == {7}
    assert [each.hex[-8:] for each in ids] == ["00000001", "00000002", "0000012c"]
    assert {each.hex[:24] for each in ids} == {batch.hex[:24]}


def test_batches_of_one_millisecond_have_jobs_of_different_ids() -> None:
    drawn = [uuid7() for _ in range(10_000)]

    assert len({periods.job_id(batch, 1) for batch in drawn}) == len(drawn)


def test_a_week_begins_and_ends_at_its_bounds() -> None:
    period = periods.period_of(LONG_AGO)
    low, high = periods.bounds(period)

    assert periods.start(period) == datetime(2023, 11, 9, tzinfo=UTC)
    assert periods.at(periods.start(period)) == period
    assert low <= LONG_AGO < high
    assert (periods.period_of(low), periods.period_of(high)) == (period, period + 1)


def test_rows_lie_in_the_week_of_their_batch_however_late_they_are_read(ledger: Ledger) -> None:
    old, new = make_batch(ledger, 2, id=LONG_AGO), make_batch(ledger, 3)

    with ledger.begin() as session:
        found = session.execute(
            text("select tableoid::regclass::text as place, count(*) from jobs group by 1")
        )
        counts = {row.place: row.count for row in found}
    assert counts == {
        f"jobs_{periods.period_of(old)}": 2,
        f"jobs_{periods.period_of(new)}": 3,
    }


def test_a_line_that_no_id_can_hold_is_refused(ledger: Ledger) -> None:
    submission = make_submission()
    with ledger.begin() as session:
        batches.submit(session, submission, again=False)
    chunk = make_chunk([make_row(periods.MAX_LINE), make_row(periods.MAX_LINE + 1)])

    with ledger.begin() as session, pytest.raises(RowInvalid, match="4294967296 is beyond"):
        intake.append(session, submission.id, chunk)


def test_making_partitions_waits_for_no_reader(ledger: Ledger) -> None:
    with ledger.begin() as reading:
        reading.execute(text("select count(*) from jobs, events"))
        with ledger.begin() as session:
            session.execute(text("set local lock_timeout = '1s'"))
            periods.ensure(session, periods.period_of(LONG_AGO))
    with ledger.begin() as session:
        assert periods.existing(session)[0] == periods.period_of(LONG_AGO)


def test_a_take_reads_only_its_batchs_week(ledger: Ledger) -> None:
    make_batch(ledger, 2, id=LONG_AGO)
    batch = make_batch(ledger, 2)

    with ledger.begin() as session:
        plan = session.scalars(
            text("explain select id from jobs where id between :first_id and :last_id"),
            periods.span(batch),
        )
        read = "\n".join(plan)
    assert f"jobs_{periods.period_of(batch)}" in read
    assert f"jobs_{periods.period_of(LONG_AGO)}" not in read


def test_the_tables_are_those_of_the_migrations(settings: Settings, ledger: Ledger) -> None:
    engine = create_engine(url(settings))
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_name": lambda name, *_: not periods.is_partition(name)}
        )
        differences = compare_metadata(context, Base.metadata)
    engine.dispose()

    assert differences == []


def test_a_database_without_an_encoding_is_one_as_well(
    settings: Settings, postgres_url: str, empty_database_url: str
) -> None:
    name = make_url(empty_database_url).database
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"drop database {name}")
        connection.execute(
            f"create database {name} template template0 encoding 'SQL_ASCII' locale 'C'"
            " locale_provider libc"
        )
    bare = settings.model_copy(update={"database_url": SecretStr(empty_database_url)})

    upgrade(bare)

    current, newest = revisions(bare)
    assert current == newest


@pytest.fixture
def before(settings: Settings, empty_database_url: str) -> Settings:
    """A database of the schema before the weeks, with two batches, and events of theirs."""
    old = settings.model_copy(update={"database_url": SecretStr(empty_database_url)})
    command.upgrade(migrations(old), "0002")
    with psycopg.connect(empty_database_url) as connection:
        for batch in (LONG_AGO, uuid7()):
            connection.execute(
                "insert into batches (id, state, source, source_version, destination, endpoint,"
                " arguments, options) values (%s, 'open', 's', '1', 'd', 'e', '{}', '{}')",
                (batch,),
            )
            for line, state in enumerate(("succeeded", "queued", "running"), start=1):
                job = uuid7()
                connection.execute(
                    "insert into jobs (id, batch_id, line, state, pipeline, endpoint, arguments,"
                    " destination_key, epoch, worker_id)"
                    " values (%s, %s, %s, %s, 'e', 'e', '{}', %s, 4, %s)",
                    (job, batch, line, state, uuid7(), uuid7()),
                )
                connection.execute(
                    "insert into events (type, batch_id, job_id) values ('job.told', %s, %s)",
                    (batch, job),
                )
    return old


def test_a_ledger_with_rows_is_upgraded_in_place(before: Settings) -> None:
    upgrade(before)

    ledger = Ledger(before)
    with ledger.begin() as session:
        jobs = session.query(Job).order_by(Job.id).all()
        told = session.scalars(text("select job_id from events order by id")).all()
        found = batches.latest(session, limit=5)
        session.execute(
            text("insert into events (type, batch_id) values ('more', :id)"), {"id": LONG_AGO}
        )
    fresh = make_batch(ledger, 2)
    ledger.close()

    assert len(found) == 2
    assert [job.id for job in jobs] == [periods.job_id(job.batch_id, job.line) for job in jobs]
    assert [job.id for job in jobs] == told
    assert [(job.line, job.state, job.epoch, job.worker_id) for job in jobs] == [
        (1, "succeeded", 4, None),
        (2, "waiting", 4, None),
        (3, "waiting", 4, None),
    ] * 2
    assert fresh not in {job.batch_id for job in jobs}


def test_the_upgrade_keeps_one_destination_to_one_row(before: Settings) -> None:
    upgrade(before)

    engine = create_engine(url(before))
    with engine.connect() as connection:
        indexes = connection.scalars(
            text("select indexdef from pg_indexes where tablename = :table"),
            {"table": f"jobs_{periods.period_of(LONG_AGO)}"},
        ).all()
    engine.dispose()

    assert [each for each in indexes if "UNIQUE" in each and "destination_key" in each]
