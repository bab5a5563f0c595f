"""Alembic's entry: runs the migrations in one transaction, under a lock of their own."""

from alembic import context
from sqlalchemy import NullPool, create_engine, text

from scheduler.ledger import (  # noqa: F401 - they register their tables
    request_tables,
    trigger_tables,
    webhook_tables,
)
from scheduler.ledger.tables import Base

LOCK = 0x656E6C61  # any constant will do; it is only ever compared with itself


def run() -> None:
    """Upgrade the configured database."""
    engine = create_engine(context.config.attributes["url"], poolclass=NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection, target_metadata=Base.metadata)
        with context.begin_transaction():
            # Two processes that start together must not both create the tables.
            connection.execute(text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
            context.run_migrations()


run()
