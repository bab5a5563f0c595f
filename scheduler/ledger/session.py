"""Connections to the ledger, its migrations, and where database errors become ours."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import NullPool

from scheduler.errors import LedgerUnavailable, RevisionUnknown, SettingsInvalid
from scheduler.settings import Settings

log = structlog.get_logger()

MIGRATIONS = Path(__file__).parent / "migrations"
OLDEST = "0017"
"""The revision of 0.1.0, the first release: there is no older program to go back for, and among the
migrations before it there is one that can't be taken back."""
NO_DATABASE = (
    "ENLARGER_DATABASE_URL is not set; point it at PostgreSQL, for instance "
    "postgresql://user:password@host/enlarger, or use `enlarger run`, which brings its own"
)
NO_ADDRESS = (
    "ENLARGER_DATABASE_URL is no address of a database; write "
    "postgresql://user:password@host:5432/enlarger"
)
"""Without the value: it may hold a password."""
NO_POSTGRES = "ENLARGER_DATABASE_URL: must begin with postgresql://"


class Ledger:
    """A pool of connections; `begin()` is a transaction.

    `begin(durable=False)` commits without waiting for the disk. It serves what a crash of the
    server may forget without harm: claims and heartbeats, which the fence and the sweep repair.
    """

    def __init__(self, settings: Settings, *, connections: int = 10) -> None:
        self._sessions = {
            durable: sessionmaker(
                _engine(settings, connections=connections, durable=durable, autocommit=False),
                expire_on_commit=False,
            )
            for durable in (True, False)
        }
        self._autocommit = {
            durable: _engine(settings, connections=connections, durable=durable, autocommit=True)
            for durable in (True, False)
        }

    @contextmanager
    def begin(self, *, durable: bool = True) -> Iterator[Session]:
        """Open a transaction that commits on a clean exit.

        Raises:
            LedgerUnavailable: The server does not answer, is starting or is stopping.
        """
        with unavailable_mapped(), self._sessions[durable].begin() as session:
            yield session

    @contextmanager
    def autocommit(self, *, durable: bool = True) -> Iterator[Connection]:
        """Open a connection whose statements commit one by one, for LISTEN and advisory locks.

        And for a transition that is a single statement: it takes one round trip where `begin` takes
        three, and half the time.

        Raises:
            LedgerUnavailable: The server does not answer, is starting or is stopping.
        """
        with unavailable_mapped(), self._autocommit[durable].connect() as connection:
            yield connection

    def close(self) -> None:
        """Give every idle connection back to the server."""
        for durable in (True, False):
            self._sessions[durable].kw["bind"].dispose()
            self._autocommit[durable].dispose()


@contextmanager
def unavailable_mapped() -> Iterator[None]:
    """Turn "the server is not there" into `LedgerUnavailable`; bugs stay what they are."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as exc:
        raise LedgerUnavailable(f"database_url: PostgreSQL does not answer: {_cause(exc)}") from exc
    except DBAPIError as exc:
        if not exc.connection_invalidated:
            raise
        raise LedgerUnavailable(f"database_url: PostgreSQL went away: {_cause(exc)}") from exc


def _cause(exc: Exception) -> str:
    original = getattr(exc, "orig", None) or exc
    return " ".join(str(original).split())[:300]


def _engine(settings: Settings, *, connections: int, durable: bool, autocommit: bool) -> Engine:
    return create_engine(
        url(settings),
        isolation_level="AUTOCOMMIT" if autocommit else "READ COMMITTED",
        pool_size=connections,
        max_overflow=connections,
        pool_timeout=30,
        pool_pre_ping=False,
        connect_args={
            "connect_timeout": 10,
            "application_name": "enlarger",
            "keepalives_idle": 30,
            "tcp_user_timeout": 30_000,  # ms; a server that vanished is not waited for for ever
            "options": "-c idle_in_transaction_session_timeout=60000 -c lock_timeout=30000 "
            f"-c synchronous_commit={'on' if durable else 'off'}",
        },
    )


def url(settings: Settings) -> str:
    """Return the database's address in SQLAlchemy's spelling, with psycopg 3 as the driver.

    Raises:
        SettingsInvalid: None is set, or it is none.
    """
    if settings.database_url is None:
        raise SettingsInvalid(NO_DATABASE, field="database_url")
    address = settings.database_url.get_secret_value()
    scheme, separator, rest = address.partition("://")
    if not separator or scheme.split("+")[0] not in ("postgresql", "postgres"):
        raise SettingsInvalid(NO_POSTGRES, field="database_url")
    try:
        parsed = make_url(f"postgresql+psycopg://{rest}")
    except (ArgumentError, ValueError) as exc:
        raise SettingsInvalid(NO_ADDRESS, field="database_url") from exc
    # A database without an encoding would answer in bytes.
    parsed = parsed.update_query_dict({"client_encoding": "utf8"})
    return parsed.render_as_string(hide_password=False)


def database_time(session: Session) -> datetime:
    """Return the server's clock: the one clock that leases, backoffs and sweeps are measured by."""
    now: datetime = session.execute(text("select clock_timestamp()")).scalar_one()
    return now


def migrations(settings: Settings) -> Config:
    """Return Alembic's configuration for the ledger's database."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["url"] = url(settings)
    return config


def upgrade(settings: Settings) -> str | None:
    """Bring the database to the newest schema; safe to call from several processes at once.

    A schema that is newer than this version is left as it is: while a system is being upgraded,
    the older processes work on (see docs/operations.md).

    Returns:
        Such a newer schema's revision; None where the schema is ours.
    """
    found, _ = revisions(settings)
    if is_newer(found):
        log.warning("schema.newer", found=found, remedy="upgrade this process, too")
        return found
    with unavailable_mapped():
        command.upgrade(migrations(settings), "head")
    return None


@cache
def _script() -> ScriptDirectory:
    """Return the migrations, read once in a process."""
    return ScriptDirectory(str(MIGRATIONS))


def is_newer(found: str | None) -> bool:
    """Tell whether a database's revision is one of a newer version than this."""
    return found is not None and found not in {each.revision for each in _script().walk_revisions()}


def downgrade(settings: Settings, revision: str) -> None:
    """Take migrations back, down to a revision that the database passed since the first release.

    Raises:
        RevisionUnknown: It has not, or there is none of that name, or the way back is a newer
            version's to know.
        LedgerUnavailable: The server does not answer; nothing was changed.
    """
    found, _ = revisions(settings)
    if is_newer(found):
        raise RevisionUnknown(
            f"revision: the database is at {found}, which this version does not know; "
            "take it back with the version that brought it there"
        )
    history = () if found is None else _script().iterate_revisions(found, "base")
    passed = [each.revision for each in history if each.revision >= OLDEST]
    if revision not in passed:
        known = ", ".join(passed) or "none"
        raise RevisionUnknown(
            f"revision: {revision!r} is none that the database can go back to; these are: {known}; "
            "for anything else restore a dump"
        )
    with unavailable_mapped():
        command.downgrade(migrations(settings), revision)


def revisions(settings: Settings) -> tuple[str | None, str | None]:
    """Return the database's revision, None for an empty one, and the newest that we have."""
    newest = _script().get_current_head()
    engine = create_engine(url(settings), poolclass=NullPool)
    with unavailable_mapped(), engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision(), newest
