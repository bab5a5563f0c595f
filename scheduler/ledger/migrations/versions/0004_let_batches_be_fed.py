"""let batches be fed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Apply; the batches so far were all read from a source."""
    op.add_column("batches", sa.Column("feed", sa.Text(), nullable=True))
    op.add_column("batches", sa.Column("fed_until", sa.DateTime(timezone=True), nullable=True))
    # Lines of fed jobs, for all feeds together: as many as a line has room for, and from the start
    # again when they are used up, years after the batch that had the first ones was closed.
    op.execute("create sequence feed_lines minvalue 1 maxvalue 4294967295 cycle cache 1")


def downgrade() -> None:
    """Take back."""
    op.execute("drop sequence feed_lines")
    op.drop_column("batches", "fed_until")
    op.drop_column("batches", "feed")
