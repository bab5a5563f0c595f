"""Looks at everything that a system needs, one thing after another, and says what to do about it.

Each check is a function that returns a finding, or raises the error that its user would meet.
"""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, cast

from sqlalchemy import text

from models.errors import EnlargerError
from scheduler import broker
from scheduler.embedded import postgres, redis
from scheduler.embedded.system import environment
from scheduler.ledger import fleet
from scheduler.ledger.session import Ledger, database_time, is_newer, revisions
from scheduler.settings import Settings
from scheduler.storage import Storage, address_of, open_storage, parse_address

PREFIX = "ENLARGER_"
OF_COMMANDS = {f"{PREFIX}API", f"{PREFIX}KEY"}
"""Read by the commands themselves."""
LEAST_POSTGRES = 14
LEAST_REDIS = (6, 2)
"""The first with all that Celery's transport uses."""
MOST_SKEW_S = 5.0
LEAST_FREE_BYTES = 2 * 2**30
WORKER_SIDE_S = 120.0
GIGABYTE = 1e9


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Attributes:
        name: What was looked at.
        ok: Whether it will do.
        detail: What is there, or what is wrong with it.
        remedy: What to do about it; empty where it will do.
    """

    name: str
    ok: bool
    detail: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class Check:
    """Something to look at.

    Attributes:
        name: Of what is looked at.
        look: Returns the finding, or raises.
        remedy: What to do about an error that `look` raised.
        needs: The check without whose success this one says nothing.
    """

    name: str
    look: Callable[[], Finding]
    remedy: str = ""
    needs: str | None = None


def examine(settings: Settings, *, destination: str | None = None) -> Iterator[Finding]:
    """Yield a finding for everything there is to check, as each check ends.

    Args:
        settings: Those of the process that would use it all.
        destination: An address or path; there a small object is written, read and deleted.
    """
    well: set[str] = set()
    for check in _checks(settings, destination):
        finding = _carry_out(check, well)
        if finding.ok:
            well.add(check.name)
        yield finding


def _carry_out(check: Check, well: set[str]) -> Finding:
    if check.needs is not None and check.needs not in well:
        remedy = f"First mend what is said of the {check.needs}."
        return Finding(name=check.name, ok=False, detail="not known", remedy=remedy)
    try:
        return check.look()
    except EnlargerError as exc:
        return Finding(name=check.name, ok=False, detail=str(exc), remedy=check.remedy)


def _checks(settings: Settings, destination: str | None) -> Iterator[Check]:
    yield Check(name="settings", look=partial(check_settings, settings))
    if settings.database_url is None and settings.redis_url is None:
        yield Check(name="embedded servers", look=check_embedded, remedy="Install what is missing.")
        yield Check(name="home", look=partial(check_home, settings))
    else:
        yield from _server_checks(settings)
    if destination is not None:
        remedy = "Check the address, the credentials and their rights, and ENLARGER_S3_*."
        look = partial(check_storage, open_storage(settings), destination)
        yield Check(name="storage", look=look, remedy=remedy)
    for number, address in enumerate(settings.event_queues, start=1):
        name = f"event queue {number}"
        look = partial(check_event_queue, settings, name, address)
        remedy = "Check ENLARGER_EVENT_QUEUES, the credentials and their rights."
        yield Check(name=name, look=look, remedy=remedy)
    scratch = Path(tempfile.gettempdir())
    yield Check(name="scratch disk", look=partial(check_disk, "scratch disk", scratch))
    answer = _ask_worker_side(settings)
    yield Check(name="devices", look=partial(check_devices, answer))
    yield Check(name="weights", look=partial(check_weights, answer), needs="devices")


def _server_checks(settings: Settings) -> Iterator[Check]:
    reach = "Check the address, that the server runs, and that it may be reached from here."
    yield Check(name="database", look=partial(check_database, settings), remedy=reach)
    yield Check(name="schema", look=partial(check_schema, settings), needs="database")
    yield Check(name="clock", look=partial(check_clock, settings), needs="database")
    yield Check(name="redis", look=partial(check_redis, settings), remedy=reach)
    yield Check(name="workers", look=partial(check_workers, settings), needs="schema")


def check_settings(settings: Settings) -> Finding:
    """Look for misspelt variables, and for half a system."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | OF_COMMANDS
    strange = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known)
    if strange:
        near = get_close_matches(strange[0], known, n=1)
        meant = f"did you mean {near[0]}?" if near else "see the table of settings."
        detail = f"{', '.join(strange)}: no such setting"
        return Finding(name="settings", ok=False, detail=detail, remedy=f"Remove it; {meant}")
    if (settings.database_url is None) != (settings.redis_url is None):
        missing = "DATABASE_URL" if settings.database_url is None else "REDIS_URL"
        detail = f"{PREFIX}{missing} is not set, though its counterpart is"
        remedy = "Set both for a system of your own, or neither for `enlarger run`."
        return Finding(name="settings", ok=False, detail=detail, remedy=remedy)
    given = sorted(f"{PREFIX}{name.upper()}" for name in settings.model_fields_set)
    return Finding(name="settings", ok=True, detail=", ".join(given) or "all as they come")


def check_embedded() -> Finding:
    """Look for the servers that `enlarger run` brings."""
    found = f"PostgreSQL in {postgres.installed()}, {redis.binary()}"
    return Finding(name="embedded servers", ok=True, detail=found)


def check_database(settings: Settings) -> Finding:
    """Connect, and look at the version."""
    ledger = Ledger(settings, connections=1)
    try:
        with ledger.begin() as session:
            number = int(session.execute(text("show server_version_num")).scalar_one())
            version = str(session.execute(text("show server_version")).scalar_one()).split()[0]
    finally:
        ledger.close()
    if number // 10_000 < LEAST_POSTGRES:
        detail = f"PostgreSQL {version} is too old"
        remedy = f"Use PostgreSQL {LEAST_POSTGRES} or newer."
        return Finding(name="database", ok=False, detail=detail, remedy=remedy)
    return Finding(name="database", ok=True, detail=f"PostgreSQL {version}")


def check_schema(settings: Settings) -> Finding:
    """Compare the database's schema with what this version needs."""
    found, newest = revisions(settings)
    if found == newest:
        return Finding(name="schema", ok=True, detail=f"up to date ({newest})")
    if is_newer(found):
        detail = f"newer ({found}) than this version's ({newest}): others were upgraded already"
        return Finding(name="schema", ok=True, detail=detail)
    return Finding(
        name="schema",
        ok=False,
        detail=f"the database is at {found or 'nothing'}, this version needs {newest}",
        remedy="Run `enlarger db upgrade`; a scheduler does so when it starts.",
    )


def check_clock(settings: Settings) -> Finding:
    """Compare this host's clock with that of the database, by which leases are measured."""
    ledger = Ledger(settings, connections=1)
    try:
        with ledger.begin() as session:
            before = datetime.now(UTC)
            there = database_time(session)
            after = datetime.now(UTC)
    finally:
        ledger.close()
    skew_s = max((before - there).total_seconds(), (there - after).total_seconds(), 0.0)
    if skew_s > MOST_SKEW_S:
        detail = f"this clock and the database's are {skew_s:.0f} s apart"
        remedy = "Set both by NTP: object stores refuse requests with a wrong time."
        return Finding(name="clock", ok=False, detail=detail, remedy=remedy)
    return Finding(name="clock", ok=True, detail=f"within {max(skew_s, 0.1):.1f} s of the database")


def check_redis(settings: Settings) -> Finding:
    """Connect, and look at the version and at what Redis does when it is full."""
    with broker.unavailable_mapped(), broker.connect(settings) as client:
        about = cast(dict[str, Any], client.info())
    version = str(about.get("redis_version", "0"))
    name = f"{about.get('server_name', 'redis')} {version}"
    if tuple(int(part) for part in version.split(".")[:2]) < LEAST_REDIS:
        least = ".".join(map(str, LEAST_REDIS))
        remedy = f"Use Redis {least} or newer, or Valkey."
        return Finding(name="redis", ok=False, detail=f"{name} is too old", remedy=remedy)
    policy = about.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        return Finding(
            name="redis",
            ok=False,
            detail=f"{name} drops keys when it is full (maxmemory-policy {policy})",
            remedy="Set maxmemory-policy to noeviction; a dropped queue is only found by sweeping.",
        )
    return Finding(name="redis", ok=True, detail=f"{name}, maxmemory-policy {policy}")


def check_workers(settings: Settings) -> Finding:
    """Look who is there to do the work, and what nobody can do."""
    ledger = Ledger(settings, connections=1)
    try:
        with ledger.begin() as session:
            fleet_ = fleet.alive(session)
    finally:
        ledger.close()
    if not fleet_:
        remedy = "Start `enlarger worker` on a host with a device; until then, jobs wait."
        return Finding(name="workers", ok=False, detail="none is running", remedy=remedy)
    ready = {pipeline for worker in fleet_ for pipeline in worker.ready}
    lacking = {
        pipeline: f"{pipeline}: {reason} ({worker.name})"
        for worker in fleet_
        for pipeline, reason in worker.not_ready.items()
        if pipeline not in ready
    }
    names = ", ".join(f"{worker.name} on {worker.device}" for worker in fleet_)
    return Finding(
        name="workers",
        ok=bool(ready),
        detail="; ".join([names, f"ready: {', '.join(sorted(ready))}", *lacking.values()]),
        remedy="" if ready else "Put right what the workers say; until then nothing is accepted.",
    )


def check_storage(storage: Storage, destination: str) -> Finding:
    """Write a small object below the destination, read it back, and delete it."""
    folder = parse_address(address_of(destination)).folder()
    probe = str(folder.child(f".enlarger-doctor-{secrets.token_hex(4)}"))
    data = secrets.token_bytes(64)
    storage.write(probe, data, content_type="application/octet-stream", within=str(folder))
    intact = storage.read(probe, max_bytes=len(data)).data == data
    storage.delete(probe)
    if not intact:
        detail = f"{folder} gave back other bytes than were written"
        return Finding(name="storage", ok=False, detail=detail, remedy="Do not use this store.")
    return Finding(name="storage", ok=True, detail=f"wrote, read and deleted below {folder}")


def check_event_queue(settings: Settings, name: str, address: str) -> Finding:
    """Look at a queue of bucket events, without taking anything from it."""
    from scheduler.triggers import queues  # boto3: only where there are queues

    waiting = queues.waiting(settings, address)
    return Finding(name=name, ok=True, detail=f"{queues.name_of(address)}, {waiting} messages")


def check_home(settings: Settings) -> Finding:
    """Look at the disk where an embedded system would live."""
    folder = settings.home.expanduser().absolute()
    while not folder.exists():
        folder = folder.parent
    return check_disk("home", folder)


def check_disk(name: str, folder: Path) -> Finding:
    """Look at the free space of the disk that holds a folder."""
    free = shutil.disk_usage(folder).free
    detail = f"{folder} has {free / GIGABYTE:.1f} GB free"
    if free >= LEAST_FREE_BYTES:
        return Finding(name=name, ok=True, detail=detail)
    least = f"{LEAST_FREE_BYTES / GIGABYTE:.1f} GB"
    remedy = f"Free some: reports of large batches and the database need {least} or more."
    return Finding(name=name, ok=False, detail=detail, remedy=remedy)


def _ask_worker_side(settings: Settings) -> dict[str, Any] | str:
    """Return what a worker's process says of this host; a text says why it doesn't."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "workers.check"],
            capture_output=True,
            text=True,
            timeout=WORKER_SIDE_S,
            env=environment(settings),
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {WORKER_SIDE_S:.0f} s"
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def check_devices(answer: dict[str, Any] | str) -> Finding:
    """Say what a worker would run on."""
    if isinstance(answer, str):
        remedy = "Install what workers need: pip install 'enlarger[worker]'."
        return Finding(name="devices", ok=False, detail=answer, remedy=remedy)
    told = (
        f"{each['id']} ({each['name']}, {each['memory_bytes'] / GIGABYTE:.0f} GB)"
        for each in answer["devices"]
    )
    return Finding(name="devices", ok=True, detail=", ".join(told))


def check_weights(answer: dict[str, Any] | str) -> Finding:
    """Say which endpoints a worker could serve, and what the others lack."""
    assert not isinstance(answer, str), "the devices are looked at first"
    lacking = [f"{pipeline}: {reason}" for pipeline, reason in answer["not_ready"].items()]
    return Finding(
        name="weights",
        ok=bool(answer["ready"]),
        detail="; ".join([f"ready: {', '.join(answer['ready']) or 'none'}", *lacking]),
        remedy="" if answer["ready"] else "Pull the weights of an endpoint: `enlarger weights`.",
    )
