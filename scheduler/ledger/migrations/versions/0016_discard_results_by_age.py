"""discard results by age."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Apply."""
    op.add_column(
        "batches", sa.Column("discarded", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column("batches", sa.Column("discarded_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("batches", "discarded_at")
    op.drop_column("batches", "discarded")
