"""How a command reaches its system: by ENLARGER_DATABASE_URL, else the one in ENLARGER_HOME."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click
from sqlalchemy.exc import ProgrammingError

from scheduler import logs, settings
from scheduler.desk import Desk, LedgerDesk
from scheduler.embedded.home import Home
from scheduler.errors import LedgerUnavailable, SettingsInvalid, SystemStopped
from scheduler.ledger.session import NO_DATABASE, Ledger
from scheduler.remote import RemoteDesk
from scheduler.settings import Settings
from scheduler.storage import Storage, open_storage

MISSING_SCHEMA = {"42P01", "42703"}
"""PostgreSQL's codes for a table and a column that are not there."""
UPGRADE = "database_url: the database lacks what this version needs; run `enlarger db upgrade`"


@dataclass(frozen=True, kw_only=True)
class System:
    """A system that a command talks to."""

    settings: Settings
    ledger: Ledger
    storage: Storage
    home: Home | None = None
    """Where it lives, if it is an embedded one that some process runs."""

    def check_running(self) -> None:
        """Look whether the process is still there that runs an embedded system.

        Raises:
            SystemStopped: It ended, and everything with it.
        """
        if self.home is not None and not self.home.is_held():
            reason = (
                "home: the command that ran this system was stopped, and the system with it; "
                "the same command again goes on where it stopped"
            )
            raise SystemStopped(reason, field="home")

    @property
    def desk(self) -> LedgerDesk:
        """Where its batches are asked about and steered."""
        return LedgerDesk(self.ledger, self.storage, explain=self.check_running)


def remote_desk() -> RemoteDesk | None:
    """Return the desk behind `--api`; None where that was not given."""
    context = click.get_current_context(silent=True)
    found: RemoteDesk | None = None if context is None else context.obj
    return found


@contextmanager
def desk(*, running: bool = False) -> Iterator[Desk]:
    """Yield where batches are asked about: behind `--api`, else in the system of the settings.

    Raises:
        SettingsInvalid: As for `connected`.
        LedgerUnavailable: The system does not answer.
    """
    remote = remote_desk()
    if remote is not None:
        yield remote
        return
    with connected(running=running) as system:
        yield system.desk


@contextmanager
def connected(*, running: bool = False) -> Iterator[System]:
    """Connect to the system that the settings name.

    Args:
        running: The command is of no use where nobody works, so an embedded system must be up.
            Else its database is started for this command alone.

    Raises:
        SettingsInvalid: No database is set, and there is no embedded system either; or an API is
            to be asked for what it does not tell.
        LedgerUnavailable: The database does not answer, or lacks tables.
    """
    if remote_desk() is not None:
        reason = "api: this command asks the database itself; call it without --api (ENLARGER_API)"
        raise SettingsInvalid(reason, field="api")
    loaded = settings.load()
    logs.configure(loaded, level="error")
    if loaded.database_url is not None:
        with opened(loaded) as system:
            yield system
        return
    from scheduler.embedded import system as embedded

    check_embedded(loaded, running=running)
    with (
        embedded.start(loaded, children=()) as found,
        opened(found, home=Home.at(found.home)) as system,
    ):
        yield system


def check_embedded(loaded: Settings, *, running: bool = False) -> None:
    """Refuse to go on where there is no embedded system, or none that is running.

    Raises:
        SettingsInvalid: So it is; the message says what to set or to start.
    """
    folder = loaded.home.expanduser()
    if not (folder / "postgres").exists():
        raise SettingsInvalid(NO_DATABASE, field="database_url")
    if running and Home.at(folder).published() is None:
        reason = (
            f"home: no system is running in {folder}; `enlarger run` starts one, "
            "or set ENLARGER_DATABASE_URL to one of yours"
        )
        raise SettingsInvalid(reason, field="home")


@contextmanager
def opened(found: Settings, *, home: Home | None = None) -> Iterator[System]:
    """Open the ledger and the storage of a system whose addresses are known.

    Args:
        found: Has the addresses.
        home: Where it lives, if it is an embedded one.

    Raises:
        LedgerUnavailable: The database lacks tables.
    """
    ledger = Ledger(found, connections=2)
    try:
        yield System(settings=found, ledger=ledger, storage=open_storage(found), home=home)
    except ProgrammingError as exc:
        if getattr(exc.orig, "sqlstate", None) not in MISSING_SCHEMA:
            raise
        raise LedgerUnavailable(UPGRADE, field="database_url") from exc
    finally:
        ledger.close()
