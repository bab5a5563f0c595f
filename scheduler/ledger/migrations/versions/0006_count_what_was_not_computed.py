"""count rows whose result was there before, and those that got a copy of an earlier one."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TABLES = ("batches", "batch_deltas")
COUNTERS = ("existing", "reused")


def upgrade() -> None:
    """Apply."""
    for table in TABLES:
        for name in COUNTERS:
            op.add_column(
                table, sa.Column(name, sa.BigInteger(), server_default="0", nullable=False)
            )


def downgrade() -> None:
    """Undo."""
    for table in TABLES:
        for name in COUNTERS:
            op.drop_column(table, name)
