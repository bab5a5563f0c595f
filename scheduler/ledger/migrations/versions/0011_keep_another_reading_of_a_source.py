"""keep another reading of a source whose manifest leaves in doubt how it is written."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Apply."""
    op.add_column("jobs", sa.Column("source_alternative", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take back."""
    op.drop_column("jobs", "source_alternative")
