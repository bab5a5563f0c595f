"""Supervision of real processes: what restarts, what gives up, and that nothing is left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from scheduler import keeper
from scheduler.children import Child, Restarts, Supervisor, finish
from scheduler.errors import ChildGaveUp

ENV = {"PATH": os.environ["PATH"]}
EAGER = Restarts(first_s=0.01, longest_s=0.05, quick_s=10, quick_deaths=3)

TREE = """
import os, sys, time
def note():
    with open(sys.argv[1], "a") as pids: print(os.getpid(), file=pids)
note()
if os.fork() == 0:
    note()
    os.setsid()                 # leaves the process group
    if os.fork() == 0:          # and its parent
        note()
    else:
        os._exit(0)
time.sleep(600)
"""
"""A child and a daemon that hides from it, each writing its id to a file; the go-between ends."""

OWNER = """
import os, sys, threading
from pathlib import Path
from scheduler.children import Child, Supervisor
folder = Path(sys.argv[1])
supervisor = Supervisor()
def begin():                    # a thread that ends right away: children must not depend on it
    supervisor.start(Child(name="tree", command=(sys.executable, "-c", sys.argv[2],
        str(folder / "pids")), env=dict(os.environ), log=folder / "tree.log"))
thread = threading.Thread(target=begin); thread.start(); thread.join()
supervisor.wait()
"""
"""A parent, to be killed, of a `TREE`."""


def script(tmp_path: Path, code: str, **overrides) -> Child:
    command = (sys.executable, "-c", code, str(tmp_path / "pids"))
    values = {"name": "it", "command": command, "env": ENV, "log": tmp_path / "it.log"}
    return Child(**(values | overrides))


def eventually(fact: Callable[[], object], *, within_s: float = 20.0) -> None:
    """Wait for something that other processes bring about."""
    deadline = time.monotonic() + within_s
    while not fact():
        assert time.monotonic() < deadline, f"did not happen within {within_s} s"
        time.sleep(0.02)


def pids(tmp_path: Path) -> list[int]:
    path = tmp_path / "pids"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def keepers_below(pid: int) -> list[psutil.Process]:
    return [p for p in psutil.Process(pid).children() if str(keeper.__file__) in p.cmdline()]


def test_a_child_that_dies_is_started_again(tmp_path):
    with Supervisor(restarts=EAGER) as supervisor:
        supervisor.start(script(tmp_path, TREE, ready=lambda: len(pids(tmp_path)) == 3))

        os.kill(pids(tmp_path)[0], signal.SIGKILL)

        eventually(lambda: len(pids(tmp_path)) == 6)


def test_what_a_dead_child_leaves_behind_is_gone_before_it_starts_again(tmp_path):
    with Supervisor(restarts=EAGER) as supervisor:
        supervisor.start(script(tmp_path, TREE, ready=lambda: len(pids(tmp_path)) == 3))
        first = pids(tmp_path)

        os.kill(first[0], signal.SIGKILL)
        eventually(lambda: len(pids(tmp_path)) > 3)

        assert not any(alive(pid) for pid in first)


def test_a_child_that_keeps_dying_is_given_up_with_its_name_and_the_end_of_its_log(tmp_path):
    told = threading.Event()
    with Supervisor(restarts=EAGER, on_failure=told.set) as supervisor:
        supervisor.start(script(tmp_path, "print('no such device'); raise SystemExit(3)"))

        with pytest.raises(ChildGaveUp) as caught:
            supervisor.wait(20)

    assert told.is_set()
    assert "it: it died 3 times in a row" in str(caught.value)
    assert "ended with status 3" in str(caught.value)
    assert str(caught.value).count("no such device") == 3


def test_a_command_that_does_not_exist_is_given_up_and_named(tmp_path):
    child = script(tmp_path, "", command=("/nowhere/enlarge",))
    with Supervisor(restarts=EAGER) as supervisor:
        supervisor.start(child)

        with pytest.raises(ChildGaveUp, match="/nowhere/enlarge: .*No such file"):
            supervisor.wait(20)


def test_a_child_that_is_not_ready_in_time_is_an_error(tmp_path):
    child = script(tmp_path, "import time; time.sleep(600)", ready=lambda: False, ready_s=0.2)
    with Supervisor() as supervisor:
        with pytest.raises(ChildGaveUp, match="not ready within 0.2 s"):
            supervisor.start(child)


def test_children_stop_in_reverse_order_by_their_own_signals(tmp_path):
    code = """
import signal, sys
def stop(number, frame):
    with open(sys.argv[1], "a") as file: print(number, file=file)
    sys.exit()
for number in (signal.SIGINT, signal.SIGQUIT): signal.signal(number, stop)
print("listening", flush=True)
while True: signal.pause()
"""
    with Supervisor() as supervisor:
        for number in (signal.SIGINT, signal.SIGQUIT):
            log = tmp_path / f"{number}.log"
            supervisor.start(
                script(tmp_path, code, stop_signal=number, log=log, ready=log_says(log, "listen"))
            )

        supervisor.stop()

    assert pids(tmp_path) == [signal.SIGQUIT, signal.SIGINT]


def log_says(log: Path, text: str) -> Callable[[], bool]:
    return lambda: log.exists() and text in log.read_text()


def test_a_child_that_will_not_stop_is_killed_after_its_grace(tmp_path):
    code = "import signal; signal.signal(15, signal.SIG_IGN);" + TREE
    with Supervisor() as supervisor:
        supervisor.start(
            script(tmp_path, code, grace_s=0.2, ready=lambda: len(pids(tmp_path)) == 3)
        )

        supervisor.stop()

    assert not any(alive(pid) for pid in pids(tmp_path))


@pytest.fixture
def owner(tmp_path):
    """A process that supervises a TREE, already running."""
    command = [sys.executable, "-c", OWNER, str(tmp_path), TREE]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        eventually(lambda: len(pids(tmp_path)) == 3)
        yield process
        process.kill()


def test_nothing_survives_the_kill_of_the_parent(tmp_path, owner):
    family = [*pids(tmp_path), *(p.pid for p in keepers_below(owner.pid))]

    owner.kill()
    owner.wait()

    assert len(family) == 4
    eventually(lambda: not any(alive(pid) for pid in family))


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_no_child_survives_the_kill_of_its_keeper_and_a_new_one_starts(tmp_path, owner):
    child = pids(tmp_path)[0]
    (kept,) = keepers_below(owner.pid)

    kept.kill()

    eventually(lambda: not alive(child))
    eventually(lambda: len(pids(tmp_path)) > 3)


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_no_child_survives_the_kill_of_parent_and_keeper_together(tmp_path, owner):
    child = pids(tmp_path)[0]
    (kept,) = keepers_below(owner.pid)

    owner.send_signal(signal.SIGSTOP)  # so that it can't help
    kept.kill()
    owner.kill()

    eventually(lambda: not alive(child))


def test_ctrl_c_in_the_terminal_does_not_reach_a_child(tmp_path, owner):
    child = pids(tmp_path)[0]

    assert os.getpgid(child) != os.getpgid(owner.pid)
    assert os.getsid(child) != os.getsid(owner.pid)


def test_a_log_stays_within_two_files_of_bounded_size(tmp_path):
    code = f"import sys; sys.stdout.write('x' * {3 * keeper.LOG_LIMIT_BYTES} + 'the end')"

    finish(script(tmp_path, code), timeout_s=60)

    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"it.log", "it.log.1"}
    assert max(sizes.values()) <= keeper.LOG_LIMIT_BYTES
    assert (tmp_path / "it.log").read_text().endswith("the end")


def test_finish_tells_how_a_process_failed(tmp_path):
    with pytest.raises(ChildGaveUp, match="was ended by signal 9"):
        finish(script(tmp_path, "import os; os.kill(os.getpid(), 9)"), timeout_s=20)


def test_finish_ends_what_takes_too_long(tmp_path):
    with pytest.raises(ChildGaveUp, match="was ended by signal 9"):
        finish(script(tmp_path, TREE), timeout_s=1)

    assert not any(alive(pid) for pid in pids(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_works_in_a_folder_that_it_could_not_reach_by_name(tmp_path):
    folder = tmp_path / "private" / "work"
    folder.mkdir(parents=True)
    folder.parent.chmod(0o700)
    folder.chmod(0o777)
    code = "import os; open('mine', 'w').write(f'{os.getuid()} {os.getgroups()}')"

    finish(script(tmp_path, code, user="nobody", folder=folder, command=("/bin/sh", "-c", "id -un > mine")), timeout_s=20)

    assert (folder / "mine").read_text().strip() == "nobody"
