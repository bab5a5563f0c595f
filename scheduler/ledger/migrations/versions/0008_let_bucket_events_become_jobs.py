"""let bucket events become jobs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

NOW = sa.text("now()")


def upgrade() -> None:
    """Apply."""
    texts = postgresql.ARRAY(sa.Text())
    jsonb = postgresql.JSONB(none_as_null=True, astext_type=sa.Text())
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "triggers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), server_default="", nullable=False),
        sa.Column("bucket", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("suffixes", texts, nullable=False),
        sa.Column("globs", texts, nullable=False),
        sa.Column("excludes", texts, nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("arguments", jsonb, nullable=False),
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("webhook", sa.Text(), nullable=True),
        sa.Column("paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", moment, server_default=NOW, nullable=False),
        sa.Column("removed_at", moment, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_triggers"),
    )
    op.create_index(
        "uq_triggers_name",
        "triggers",
        ["name"],
        unique=True,
        postgresql_where=sa.text("removed_at is null"),
    )
    op.create_table(
        "taken_objects",
        sa.Column("trigger_id", sa.Uuid(), nullable=False),
        sa.Column("object", sa.Uuid(), nullable=False),
        sa.Column("taken_at", moment, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("trigger_id", "object", name="pk_taken_objects"),
    )
    op.create_index(
        "ix_taken_objects_taken_at", "taken_objects", ["taken_at"], postgresql_using="brin"
    )
    op.create_table(
        "held_arrivals",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("trigger_id", sa.Uuid(), nullable=False),
        sa.Column("arrival", jsonb, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_held_arrivals"),
    )
    op.create_index("ix_held_arrivals_trigger_id_id", "held_arrivals", ["trigger_id", "id"])
    op.create_table(
        "dead_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("at", moment, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_dead_events"),
    )


def downgrade() -> None:
    """Take back."""
    for table in ("dead_events", "held_arrivals", "taken_objects", "triggers"):
        op.drop_table(table)
