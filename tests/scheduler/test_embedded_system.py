"""An embedded system in its home: who holds it, who joins, and what is left when it goes."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from pydantic import SecretStr
from redis import Redis

from scheduler.cli import follow
from scheduler.cli.connection import opened
from scheduler.cli.display import Lines
from scheduler.embedded import system
from scheduler.embedded.home import Home
from scheduler.embedded.postgres import account
from scheduler.errors import BatchUnknown, HomeHeld, HomeUnusable, SystemStopped
from scheduler.settings import Settings
from tests.processes import alive, eventually, family

HOLD = """
import sys, time
from pathlib import Path
from scheduler.embedded import system
from scheduler.settings import Settings
with system.start(Settings(home=Path(sys.argv[1])), children=()):
    try:
        print("up", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
"""Another process that runs the two servers until it is interrupted."""


@pytest.fixture
def home(tmp_path) -> Settings:
    return Settings(home=tmp_path / "home")


@pytest.fixture
def holder(home) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(home.home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        wait_for_line(it, "up")
        yield it
        if it.poll() is None:
            it.send_signal(signal.SIGINT)
            it.wait(60)


def wait_for_line(process: subprocess.Popen[str], wanted: str) -> None:
    for line in process.stdout:
        if line.strip() == wanted:
            return
    pytest.fail(f"no {wanted!r}: {process.stderr.read()}")


def answers(settings: Settings) -> bool:
    with psycopg.connect(settings.database_url.get_secret_value()) as connection:
        connection.execute("select count(*) from jobs")
    with Redis.from_url(settings.redis_url.get_secret_value()) as client:
        return client.ping()


def ask_until_it_is_gone(watched: follow.Watched) -> None:
    """Ask for a batch that there is not; a killed owner's servers answer for a moment more."""
    while True:
        with suppress(BatchUnknown):
            watched.look([uuid.uuid4()])
        time.sleep(0.05)


def test_both_servers_answer_and_the_tables_are_there(home):
    with system.start(home, children=()) as running:
        assert answers(running)


def test_nothing_is_left_but_files_after_the_end(home):
    others = set(family(os.getpid()))  # the servers of the whole test run
    with system.start(home, children=()) as running:
        started = set(family(os.getpid())) - others
        socket_folder = Path(
            running.database_url.get_secret_value().split("host=")[1].split("&")[0]
        )
        assert socket_folder.is_dir()

    assert len(started) >= 4
    assert not any(alive(pid) for pid in started)
    assert not socket_folder.exists()
    assert not (running.home / "system.json").exists()


def test_what_was_written_is_there_in_the_next_run(home):
    with (
        system.start(home, children=()) as running,
        psycopg.connect(running.database_url.get_secret_value()) as connection,
    ):
        connection.execute("create table kept as select 7 as number")

    with (
        system.start(home, children=()) as running,
        psycopg.connect(running.database_url.get_secret_value()) as connection,
    ):
        assert connection.execute("select number from kept").fetchone() == (7,)


def test_a_second_run_joins_the_first_and_leaves_it_running(home, holder):
    with system.start(home, children=()) as joined:
        assert answers(joined)

    assert answers(joined)
    assert holder.poll() is None


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_who_joined_hears_that_the_system_was_stopped(home, holder, end):
    with (
        system.start(home, children=()) as joined,
        opened(joined, home=Home.at(home.home)) as found,
    ):
        assert follow.Watched(found.desk, Lines()).look([]) == []
        holder.send_signal(end)
        holder.wait(60)

        with pytest.raises(SystemStopped, match="the same command again"):
            ask_until_it_is_gone(follow.Watched(found.desk, Lines()))


def test_a_run_that_needs_more_than_the_holder_runs_is_told_who_that_is(home, holder):
    with pytest.raises(HomeHeld) as caught, system.start(home):
        pass

    assert f"held by process {holder.pid} (-c {home.home}) since 20" in str(caught.value)
    assert "it runs no scheduler and no worker" in str(caught.value)


def test_ctrl_c_ends_everything_in_order(home, holder):
    started = family(holder.pid)

    holder.send_signal(signal.SIGINT)
    output, _ = holder.communicate(timeout=60)

    assert "interrupted" in output
    assert holder.returncode == 0
    assert not any(alive(pid) for pid in started)
    assert "database system is shut down" in (home.home / "logs" / "postgres.log").read_text()


def test_nothing_survives_the_kill_of_the_holder_and_the_next_run_takes_over(home, holder):
    started = family(holder.pid)

    holder.kill()
    holder.wait()

    assert len(started) >= 4
    eventually(lambda: not any(alive(pid) for pid in started))
    with system.start(home, children=()) as running:
        assert answers(running)


def test_a_server_that_keeps_dying_interrupts_the_holder_who_says_why(home, holder):
    def strike() -> bool:
        try:
            for pid in family(holder.pid):
                process = psutil.Process(pid)
                if process.name() == "redis-server":
                    process.kill()
        except psutil.NoSuchProcess:
            return holder.poll() is not None
        return holder.poll() is not None

    eventually(strike, within_s=60)

    assert holder.stdout.read().strip().endswith("interrupted")
    assert holder.returncode == 1
    assert "ChildGaveUp: redis: it died 5 times in a row" in holder.stderr.read()


def test_a_database_from_a_newer_version_is_left_alone(home):
    with (
        system.start(home, children=()) as running,
        psycopg.connect(running.database_url.get_secret_value()) as connection,
    ):
        connection.execute("update alembic_version set version_num = '9999'")

    with pytest.raises(HomeUnusable, match="newer version of Enlarger"), system.start(home):
        pass


def test_a_home_that_is_no_folder_is_refused_with_what_to_set(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(HomeUnusable, match=r"file .*set ENLARGER_HOME"):
        Home.at(tmp_path / "file")


def test_nobody_else_can_look_into_a_home(home):
    with system.start(home, children=()) as running:
        assert running.home.stat().st_mode & 0o777 == 0o700
        assert (running.home / "system.json").stat().st_mode & 0o777 == 0o600


def test_addresses_from_a_run_that_was_killed_are_not_believed(home):
    place = Home.at(home.home)
    old = {"pid": os.getpid() + 1, "children": [], "database_url": "a", "redis_url": "b"}
    (place.folder / "system.json").write_text(json.dumps(old))

    with place.take():
        assert place.published() is None


def test_the_lock_is_free_again_when_its_holder_is_gone(home):
    place = Home.at(home.home)

    with place.take():
        assert place.take() is None
    with place.take() as lock:
        assert lock is not None


def test_children_get_every_setting_that_was_set_and_lose_those_unset(home, monkeypatch):
    monkeypatch.setenv("ENLARGER_S3_REGION", "eu-north-1")
    settings = home.model_copy(
        update={"lease_s": 7.5, "redis_url": SecretStr("redis://x"), "s3_region": None}
    )

    found = system.environment(settings)

    assert found["ENLARGER_LEASE_S"] == "7.5"
    assert found["ENLARGER_REDIS_URL"] == "redis://x"
    assert found["ENLARGER_HOME"] == str(home.home)
    assert "ENLARGER_S3_REGION" not in found
    assert found["PATH"] == os.environ["PATH"]


@pytest.mark.skipif(os.geteuid() != 0, reason="is about root")
def test_for_root_postgresql_runs_as_nobody_in_a_home_closed_to_all_others(home):
    with system.start(home, children=()) as running:
        pid = int((running.home / "postgres" / "data" / "postmaster.pid").read_text().split()[0])

        assert psutil.Process(pid).username() == account() == "nobody"


def test_children_get_every_setting_as_it_is(tmp_path: Path) -> None:
    given = Settings(
        database_url=SecretStr("postgresql://user:p@ss@host/db"),
        input_allow="10.0.0.0/8, ::1",
        options={"fal-ai/ccsr": {"tiles": 3}},
        weights=None,
        home=tmp_path,
        lease_s=7.5,
    )
    command = "from scheduler.settings import load; print(load().model_dump_json())"

    told = subprocess.run(
        [sys.executable, "-c", command],
        env=system.environment(given),
        capture_output=True,
        text=True,
        check=True,
    )

    known = Settings.model_validate_json(told.stdout)
    assert known.model_copy(update={"database_url": given.database_url}) == given


def test_children_know_an_empty_list_of_networks(tmp_path: Path) -> None:
    assert system.environment(Settings(input_allow=()))["ENLARGER_INPUT_ALLOW"] == ""
