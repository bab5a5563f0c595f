"""keep jobs and events by the week.

Rows get new ids, those of their batches with the line in the last 32 bits. Messages in Redis name
the old ones and claim nothing; what was queued or running waits again, which costs no failure.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

WEEK_MS = 7 * 24 * 3600 * 1000
STORAGE = "fillfactor = 85, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_cost_delay = 0"
JOB_ID = (
    "cast(left(replace({0}.batch_id::text, '-', ''), 24) || lpad(to_hex({0}.line), 8, '0') as uuid)"
)
PERIODS = f"""
select distinct ('x' || left(replace(id::text, '-', ''), 12))::bit(48)::bigint / {WEEK_MS}
from batches
union select cast(extract(epoch from now()) * 1000 as bigint) / {WEEK_MS}
"""  # noqa: S608 - made of constants
JOBS = (
    "batch_id, line, pipeline, endpoint, source, source_version, destination, destination_key,"
    " custom_id, arguments, passthrough, seed, epoch, failures, alone, cancel_requested, run_after,"
    " started_at, ended_at, outcome, error"
)


def upgrade() -> None:
    """Apply."""
    op.add_column("batches", sa.Column("pruned_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("lock table batches, jobs, events in access exclusive mode")
    _make_room()
    _create_parents()
    for period in op.get_bind().execute(sa.text(PERIODS)).scalars().all():
        _create_partitions(period)
    _move_rows()
    op.execute("drop table old_jobs, old_events")


def _make_room() -> None:
    for table in ("jobs", "events"):
        op.execute(f"alter table {table} rename to old_{table}")
        op.execute(f"alter table old_{table} rename constraint pk_{table} to pk_old_{table}")
    op.execute("alter index ix_events_batch_id_id rename to ix_old_events")
    for name in ("waiting", "queued", "running"):
        op.execute(f"alter index ix_jobs_{name} rename to ix_old_jobs_{name}")
    # Else the new one would get another name for its sequence.
    op.execute("alter sequence events_id_seq rename to old_events_id_seq")


def _create_parents() -> None:
    op.execute(
        "create table jobs (like old_jobs including defaults including constraints,"
        " constraint pk_jobs primary key (id)) partition by range (id)"
    )
    op.create_index(
        "ix_jobs_waiting",
        "jobs",
        ["batch_id", "pipeline", "run_after", "line"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_index(
        "ix_jobs_queued",
        "jobs",
        ["pipeline", "queued_at"],
        postgresql_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "ix_jobs_running", "jobs", ["worker_id"], postgresql_where=sa.text("state = 'running'")
    )
    op.execute(
        "create table events (like old_events including defaults including identity,"
        " constraint pk_events primary key (id, batch_id)) partition by range (batch_id)"
    )
    op.create_index("ix_events_batch_id_id", "events", ["batch_id", "id"])


def _create_partitions(period: int) -> None:
    bounds = [f"{each * WEEK_MS:012x}" for each in (period, period + 1)]
    low, high = (f"{b[:8]}-{b[8:]}-0000-0000-000000000000" for b in bounds)
    op.execute(
        f"create table jobs_{period} partition of jobs"
        f" for values from ('{low}') to ('{high}') with ({STORAGE})"
    )
    op.execute(f"create unique index uq_jobs_{period} on jobs_{period} (batch_id, destination_key)")
    op.execute(
        f"create table events_{period} partition of events for values from ('{low}') to ('{high}')"
    )


def _move_rows() -> None:
    id_ = JOB_ID.format("old_jobs")
    op.execute(f"""
        insert into jobs (id, state, {JOBS})
        select {id_}, case when state in ('queued', 'running') then 'waiting' else state end, {JOBS}
        from old_jobs order by 1
    """)  # noqa: S608 - made of constants
    op.execute(f"""
        insert into events (id, type, batch_id, job_id, at, body)
        select old_events.id, type, old_events.batch_id,
            case when job_id is not null then {id_} end, at, body
        from old_events left join old_jobs on old_jobs.id = job_id
        where old_events.batch_id is not null
    """)  # noqa: S608 - made of constants
    op.execute("select setval('events_id_seq', (select coalesce(max(id), 0) + 1 from events))")


def downgrade() -> None:
    """Refuse: rows were given new ids, and weeks may have been dropped.

    Raises:
        NotImplementedError: Always.
    """
    reason = "restore a backup that is older than 0003"
    raise NotImplementedError(reason)
