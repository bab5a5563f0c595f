"""The embedded PostgreSQL: what it survives, whom it lets in, and what it refuses."""

import os
import sys
import tempfile
from pathlib import Path

import psutil
import psycopg
import pytest

from scheduler.children import Child, Supervisor, finish
from scheduler.embedded.postgres import ENVIRONMENT, Postgres, account, installed, readable_copy
from scheduler.errors import HomeUnusable
from tests.processes import alive, eventually

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def server(tmp_path):
    server = Postgres(folder=tmp_path / "home", log=tmp_path / "postgres.log")
    yield server
    server.remove_socket_folder()


def run(server: Postgres, supervisor: Supervisor) -> None:
    server.prepare()
    supervisor.start(server.child())
    server.create_database()


def execute(server: Postgres, statement: str) -> list[tuple]:
    with psycopg.connect(server.url(), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def postmaster(server: Postgres) -> int:
    return int((server.data / "postmaster.pid").read_text().split()[0])


def test_data_is_there_after_a_stop_and_a_start(server):
    with Supervisor() as supervisor:
        run(server, supervisor)
        execute(server, "create table kept as select 7 as number")

    with Supervisor() as supervisor:
        run(server, supervisor)
        rows = execute(server, "select number from kept")

    assert rows == [(7,)]


def test_a_killed_server_comes_back_with_what_was_committed(server):
    with Supervisor() as supervisor:
        run(server, supervisor)
        execute(server, "create table kept as select 7 as number")
        first = postmaster(server)

        psutil.Process(first).kill()
        eventually(lambda: not alive(first) and server.answers())

        assert postmaster(server) != first
        assert execute(server, "select number from kept") == [(7,)]


@on_linux
def test_no_session_outlives_the_kill_of_the_keeper(server):
    with Supervisor() as supervisor:
        run(server, supervisor)
        with psycopg.connect(server.url()):
            main = psutil.Process(postmaster(server))
            processes = [main.pid, *(child.pid for child in main.children())]

            main.parent().kill()

            eventually(lambda: not any(alive(pid) for pid in processes))


def test_it_is_reached_by_its_socket_alone_and_keeps_commits(server):
    with Supervisor() as supervisor:
        run(server, supervisor)

        names = ("listen_addresses", "fsync", "synchronous_commit", "full_page_writes", "jit")
        found = [execute(server, f"show {name}")[0][0] for name in names]

        assert found == ["", "on", "on", "on", "off"]


def test_only_its_own_user_can_enter_the_folders_of_data_and_socket(server):
    server.prepare()

    others = 0o007
    assert server.data.stat().st_mode & others == 0
    assert server.socket_folder.stat().st_mode & others == 0


def test_a_port_in_the_environment_changes_nothing(server, monkeypatch):
    monkeypatch.setenv("PGPORT", "6543")
    with Supervisor() as supervisor:
        run(server, supervisor)

        assert server.answers()


def test_a_home_with_a_long_path_still_gets_a_socket(tmp_path):
    folder = tmp_path / ("long" * 25) / ("longer" * 20)
    server = Postgres(folder=folder, log=tmp_path / "postgres.log")
    with Supervisor() as supervisor:
        run(server, supervisor)

        assert server.answers()
    server.remove_socket_folder()


@on_linux
def test_the_process_id_of_a_dead_server_may_belong_to_another_program_now(server, tmp_path):
    with Supervisor() as supervisor:
        run(server, supervisor)
        leftover = (server.data / "postmaster.pid").read_text().split("\n")
    note = tmp_path / "pid"
    stranger = Child(
        name="stranger",
        command=("/bin/sh", "-c", "echo $$; exec sleep 600"),
        env=ENVIRONMENT,
        log=note,
        user=account(),  # PostgreSQL minds only processes of its own user
        ready=lambda: note.exists() and note.read_text().endswith("\n"),
    )
    with Supervisor() as supervisor:
        supervisor.start(stranger)
        leftover[0] = note.read_text().strip()
        (server.data / "postmaster.pid").write_text("\n".join(leftover))

        run(server, supervisor)

        assert postmaster(server) != int(leftover[0])


def test_an_interrupted_first_start_is_done_again(server):
    unfinished = server.folder / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")

    server.prepare()

    assert (server.data / "global" / "pg_control").exists()
    assert not unfinished.exists()


def test_data_of_another_version_is_refused_with_both_versions_named(server):
    server.data.mkdir(parents=True)
    (server.data / "PG_VERSION").write_text("19\n")

    with pytest.raises(HomeUnusable, match=r"made by PostgreSQL 19, and this is 18"):
        server.prepare()


@as_root
def test_data_of_another_user_is_refused_with_both_users_named(server):
    server.data.mkdir(parents=True)
    (server.data / "PG_VERSION").write_text("18\n")

    with pytest.raises(HomeUnusable, match=r"belongs to user root, and PostgreSQL .* as nobody"):
        server.prepare()


@as_root
def test_a_socket_folder_that_somebody_else_made_is_not_trusted(server):
    server.socket_folder.mkdir()
    os.chown(server.socket_folder, 65534, 65534)

    with pytest.raises(HomeUnusable, match="belongs to somebody else"):
        server.prepare()


@as_root
def test_programs_that_others_can_not_read_are_copied_to_where_they_can(tmp_path):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)

        copy = readable_copy(installed(), Path(folder) / "programs")

        for program in ("initdb", "postgres"):
            command = (str(copy / "bin" / program), "--version")
            log = tmp_path / f"{program}.log"
            child = Child(name="it", command=command, env=ENVIRONMENT, log=log, user=account())
            finish(child, timeout_s=20)
            assert f"{program} (PostgreSQL) 18" in log.read_text()
