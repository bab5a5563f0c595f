"""remember what was made of what, for equal jobs of later batches."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "reusable",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("recipe", sa.LargeBinary(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("result", postgresql.JSONB(none_as_null=True), nullable=False),
        sa.Column(
            "made_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("owner", "recipe", name=op.f("pk_reusable")),
    )
    op.create_index(op.f("ix_reusable_made_at"), "reusable", ["made_at"], postgresql_using="brin")


def downgrade() -> None:
    """Undo."""
    op.drop_table("reusable")
