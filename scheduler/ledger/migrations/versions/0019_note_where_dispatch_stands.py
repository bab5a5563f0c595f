"""note where the dispatcher stands, for the one that leads after it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "bookmarks",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("places", postgresql.JSONB(none_as_null=True), nullable=False),
        sa.Column("handed", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bookmarks")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("bookmarks")
