"""find unfinished uploads."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Apply."""
    op.create_index(
        "ix_files_unfinished", "files", ["created_at"], postgresql_where=sa.text("digest is null")
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_files_unfinished", table_name="files")
