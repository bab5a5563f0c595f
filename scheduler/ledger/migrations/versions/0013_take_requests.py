"""take requests."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"

MOMENT = sa.DateTime(timezone=True)
NOW = sa.text("now()")


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "requests",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("cdn", sa.Text(), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("start_by", MOMENT, nullable=True),
        sa.Column("start_within_s", sa.Double(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("transient", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", MOMENT, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_requests"),
        sa.UniqueConstraint("owner", "idempotency_key", name="uq_requests_owner_idempotency_key"),
    )
    op.create_index(
        "ix_requests_start_by",
        "requests",
        ["start_by"],
        postgresql_where=sa.text("start_by is not null"),
    )
    op.create_table(
        "queue_counters",
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("arrived", sa.BigInteger(), nullable=False),
        sa.Column("gone", sa.BigInteger(), nullable=False),
        sa.Column("refreshed_at", MOMENT, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("batch_id", name="pk_queue_counters"),
    )
    op.create_table(
        "job_logs",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("entries", postgresql.JSONB(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name="pk_job_logs"),
    )


def downgrade() -> None:
    """Take back; the requests' jobs stay."""
    op.drop_table("job_logs")
    op.drop_table("queue_counters")
    op.drop_table("requests")
