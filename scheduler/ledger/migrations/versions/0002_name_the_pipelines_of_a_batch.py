"""name the pipelines of a batch."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Apply; until now a batch's only pipeline was its endpoint."""
    op.add_column(
        "batches",
        sa.Column("pipelines", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
    )
    op.execute("update batches set pipelines = array[endpoint]")


def downgrade() -> None:
    """Take back."""
    op.drop_column("batches", "pipelines")
