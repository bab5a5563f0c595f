"""A system as each released version left it: its database, a message of its, a key to its API.

`python -m tests.upgrades` records the present version's, when it is released.
"""

import base64
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast
from uuid import UUID

from pydantic import SecretStr
from sqlalchemy import text

from models.version import VERSION
from scheduler import broker
from scheduler.children import Supervisor
from scheduler.dispatch import Dispatcher
from scheduler.embedded import redis
from scheduler.embedded.postgres import Postgres, installed
from scheduler.ledger import fleet, jobs, keys, steering
from scheduler.ledger.fleet import EndedFigure, Figures
from scheduler.ledger.jobs import Ending
from scheduler.ledger.keys import Grant
from scheduler.ledger.session import Ledger, database_time, upgrade
from scheduler.ledger.subscriptions import subscribe
from scheduler.ledger.tables import JobState
from scheduler.settings import Settings
from tests.factories import ENDPOINT, make_batch, make_worker

FOLDER = Path(__file__).parent / "data" / "upgrades"
HOOK = "http://127.0.0.1:9/hook"
"""Nobody listens there: what is to be sent stays to be sent."""
ROWS = 4


@dataclass(frozen=True, kw_only=True)
class Recording:
    """What a version left behind.

    Attributes:
        version: Which one.
        database: As pg_dump wrote it.
        message: A bundle as it lay in a worker's queue.
        facts: The tickets in that message, the batches, and a key's secret words.
    """

    version: str
    database: Path
    message: bytes
    facts: dict[str, Any]


class Column(NamedTuple):
    """What an older version counts on.

    Attributes:
        kind: The type of its values.
        may_lack: Whether a row can be written without it.
    """

    kind: str
    may_lack: bool


def recordings() -> Iterator[Recording]:
    """Yield those of all versions, the oldest first."""
    for folder in sorted(FOLDER.iterdir()):
        facts = json.loads((folder / "facts.json").read_text())
        message = base64.b64decode(facts.pop("message"))
        yield Recording(
            version=folder.name, database=folder / "database.sql", message=message, facts=facts
        )


def restore(recording: Recording, settings: Settings) -> None:
    """Put a recorded database into an empty one."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    command = [installed() / "bin" / "psql", "--quiet", "--set=ON_ERROR_STOP=1", "--no-psqlrc", url]
    done = subprocess.run(
        command, input=recording.database.read_bytes(), check=False, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode()


def columns(ledger: Ledger) -> dict[tuple[str, str], Column]:
    """Return the columns of all tables and views, by table and name."""
    with ledger.begin() as session:
        found = session.execute(
            text("""
            select table_name, column_name, data_type,
                is_nullable = 'YES' or column_default is not null or is_identity = 'YES'
            from information_schema.columns
            where table_schema = 'public' and table_name <> 'alembic_version'
        """)
        )
        return {(table, name): Column(kind, may_lack) for table, name, kind, may_lack in found}


def rows(ledger: Ledger) -> set[tuple[str, str]]:
    """Return what is in all tables: the table's name, and a row as JSON."""
    with ledger.begin() as session:
        tables = session.scalars(
            text("""
            select relname from pg_class
            where relnamespace = 'public'::regnamespace and relkind in ('r', 'p')
                and not relispartition and relname <> 'alembic_version'
        """)
        )
        return {
            (table, row)
            for table in tables.all()
            for row in session.scalars(text(f"select to_jsonb(t)::text from {table} t"))
        }


def record(settings: Settings, folder: Path) -> None:
    """Use a fresh system a little, and write down what is there then."""
    ledger = Ledger(settings, connections=1)
    with ledger.begin() as session:
        key = keys.create(session, Grant(owner="ann"))
        subscribe(session, url=HOOK, events=["job.succeeded", "batch.finished"])
    batch, paused = make_batch(ledger, ROWS, owner="ann"), make_batch(ledger, 1)
    with ledger.begin() as session:
        steering.pause(session, paused)
    message = _use(ledger, settings, batch)
    ledger.close()
    folder.mkdir(parents=True, exist_ok=True)
    facts = {
        "batch": str(batch),
        "paused": str(paused),
        "key": key,
        "tickets": [[str(job_id), epoch] for job_id, epoch in broker.tickets_in(message)],
        "message": base64.b64encode(message).decode(),
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=1) + "\n")
    assert settings.database_url is not None
    address = settings.database_url.get_secret_value()
    options = ["--inserts", "--no-owner", "--no-privileges"]
    dumped = subprocess.run(
        [installed() / "bin" / "pg_dump", *options, address], check=True, capture_output=True
    )
    (folder / "database.sql").write_bytes(dumped.stdout)


def _use(ledger: Ledger, settings: Settings, batch: UUID) -> bytes:
    """Let one job succeed and one run, and leave the message of a third."""
    one_each = settings.model_copy(update={"bundle_jobs": 1})
    ended = [EndedFigure(ENDPOINT, "succeeded", "", 1)]
    worker = make_worker(ledger, figures=Figures(ended=ended))
    dispatcher = Dispatcher(ledger, broker.make_app(one_each), one_each)
    first, second = _handed_out(ledger, dispatcher, one_each, worker)
    outcome = json.dumps({"objects": [], "body": {}})
    with ledger.begin() as session:
        (done,) = jobs.claim(session, broker.tickets_in(first), worker_id=worker, deadline_s=60)
        ending = Ending(ticket=done.ticket, state=JobState.SUCCEEDED, outcome=outcome)
        assert jobs.finish(session, [ending], worker_id=worker)
    (third,) = _handed_out(ledger, dispatcher, one_each, worker)
    with ledger.begin() as session:
        assert jobs.claim(session, broker.tickets_in(second), worker_id=worker, deadline_s=60)
        fleet.sign_off(session, worker)
    return third


def _handed_out(
    ledger: Ledger, dispatcher: Dispatcher, settings: Settings, worker: UUID
) -> list[bytes]:
    """Dispatch, and take what the worker was sent."""
    with ledger.begin() as session:
        now = database_time(session)
    dispatcher.step(now)
    queue = settings.redis_prefix + broker.worker_queue(worker)
    found = broker.connect(settings).rpop(queue, ROWS)
    return cast(list[bytes], found or [])


def main() -> None:
    """Record the present version."""
    with tempfile.TemporaryDirectory(prefix="enlarger-") as name, Supervisor() as supervisor:
        folder = Path(name)
        folder.chmod(0o755)
        postgres = Postgres(folder=folder / "postgres", log=folder / "postgres.log")
        queue = redis.fresh(folder / "redis", folder / "redis.log")
        for server in (postgres, queue):
            server.prepare()
            supervisor.start(server.child())
        postgres.create_database()
        settings = Settings(database_url=SecretStr(postgres.url()), redis_url=SecretStr(queue.url))
        upgrade(settings)
        record(settings, FOLDER / VERSION)
        supervisor.stop()
        postgres.remove_socket_folder()


if __name__ == "__main__":
    main()
