"""keep files of requests."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "files",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("created_at", MOMENT, server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_files"),
    )
    op.create_table(
        "outputs",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("inputs", postgresql.ARRAY(sa.Uuid()), server_default="{}", nullable=False),
        sa.Column("transient", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("delivered", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("expires_at", MOMENT, nullable=True),
        sa.PrimaryKeyConstraint("job_id", name="pk_outputs"),
    )
    op.create_index("ix_files_digest", "files", ["digest"])
    for table in ("files", "outputs"):
        expiring = sa.text("expires_at is not null")
        op.create_index(f"ix_{table}_expires_at", table, ["expires_at"], postgresql_where=expiring)
    op.create_index(
        "ix_outputs_transient", "outputs", ["job_id"], postgresql_where=sa.text("transient")
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("outputs")
    op.drop_table("files")
