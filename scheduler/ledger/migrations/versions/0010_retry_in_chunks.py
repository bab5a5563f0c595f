"""retry in chunks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Apply."""
    op.add_column("batches", sa.Column("retrying", postgresql.ARRAY(sa.Text()), nullable=True))
    op.add_column(
        "batches", sa.Column("retried", sa.BigInteger(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    """Take back; what was not retried yet stays as it ended."""
    op.drop_column("batches", "retried")
    op.drop_column("batches", "retrying")
