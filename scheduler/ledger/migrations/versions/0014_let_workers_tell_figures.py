"""let workers tell figures."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Apply; workers that run fill it with their next heartbeat."""
    op.add_column(
        "workers", sa.Column("figures", postgresql.JSONB(), server_default="{}", nullable=False)
    )


def downgrade() -> None:
    """Take back."""
    op.drop_column("workers", "figures")
