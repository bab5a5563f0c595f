"""show the backlog, and which workers were lost."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"

# Waiting jobs are not counted but reckoned: what the batches have less what has ended and what was
# handed out, which is no more than the windows are wide. `work` is what workers are wanted for.
BACKLOG = """
create view backlog as
with handed as (
    select batch_id, state, count(*) as jobs from jobs where state = 'queued'
    group by batch_id, state
    union all
    select batch_id, state, count(*) from jobs where state = 'running' group by batch_id, state
), active as (
    select b.id, b.endpoint, b.priority, b.state = 'paused' as paused,
        b.total - b.succeeded - b.failed - b.cancelled - b.rejected + coalesce(d.open, 0) as open,
        coalesce((select sum(jobs) from handed where batch_id = b.id and state = 'queued'), 0)
            as queued,
        coalesce((select sum(jobs) from handed where batch_id = b.id and state = 'running'), 0)
            as running
    from batches b cross join lateral (
        select sum(total - succeeded - failed - cancelled - rejected) as open
        from batch_deltas where batch_id = b.id
    ) d
    where b.ended_at is null
), reckoned as (
    select *, cast(greatest(open - queued - running, 0) as bigint) as idle from active
)
select endpoint, priority, count(*) as batches,
    cast(coalesce(sum(idle) filter (where not paused), 0) as bigint) as waiting,
    cast(coalesce(sum(idle) filter (where paused), 0) as bigint) as paused,
    cast(sum(queued) as bigint) as queued,
    cast(sum(running) as bigint) as running,
    cast(coalesce(sum(idle) filter (where not paused), 0) + sum(queued) + sum(running) as bigint)
        as work
from reckoned group by endpoint, priority
"""


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "workers", sa.Column("lapsed", sa.Boolean(), server_default="false", nullable=False)
    )
    op.execute(BACKLOG)


def downgrade() -> None:
    """Take back."""
    op.execute("drop view backlog")
    op.drop_column("workers", "lapsed")
