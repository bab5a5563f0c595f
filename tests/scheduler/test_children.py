"""Supervision of real processes: what restarts, what gives up, and that nothing is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from scheduler import keeper
from scheduler.children import Child, Restarts, Supervisor, finish
from scheduler.errors import ChildGaveUp
from tests.processes import alive, eventually, family

ENV = {"PATH": os.environ["PATH"]}
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
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

PAIR = """
import os, sys, time
os.fork()
with open(sys.argv[1], "a") as pids: print(os.getpid(), file=pids)
time.sleep(600)
"""
"""A child and a plain child of its own."""

ALONE = PAIR.replace("os.fork()", "")

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
"""A parent, to be killed, of whatever code it is given."""

NESTED = f"""
import subprocess, sys
from pathlib import Path
folder = str(Path(sys.argv[1]).parent)
sys.argv[1:] = [folder, {TREE!r}]
exec({OWNER!r})
"""
"""A child that is itself a parent: what `enlarger worker` is to its devices."""


def script(tmp_path: Path, code: str, **overrides) -> Child:
    command = (sys.executable, "-c", code, str(tmp_path / "pids"))
    values = {"name": "it", "command": command, "env": ENV, "log": tmp_path / "it.log"}
    return Child(**(values | overrides))


def pids(tmp_path: Path) -> list[int]:
    path = tmp_path / "pids"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def keeper_of(pid: int) -> psutil.Process:
    (found,) = (p for p in psutil.Process(pid).children() if str(keeper.__file__) in p.cmdline())
    return found


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


def test_a_child_that_says_that_it_cannot_work_is_given_up_at_once(tmp_path):
    code = "print('no such device'); raise SystemExit(2)"
    with Supervisor(restarts=EAGER) as supervisor:
        supervisor.start(script(tmp_path, code, hopeless=2))

        with pytest.raises(ChildGaveUp, match="it can't work") as caught:
            supervisor.wait(20)

    assert caught.value.hopeless
    assert str(caught.value).count("no such device") == 1


def test_a_command_that_does_not_exist_is_given_up_and_named(tmp_path):
    child = script(tmp_path, "", command=("/nowhere/enlarge",))
    with Supervisor(restarts=EAGER) as supervisor:
        supervisor.start(child)

        with pytest.raises(ChildGaveUp, match=r"/nowhere/enlarge: .*No such file"):
            supervisor.wait(20)


def test_a_child_that_is_not_ready_in_time_is_an_error(tmp_path):
    child = script(tmp_path, "import time; time.sleep(600)", ready=lambda: False, ready_s=0.2)
    with Supervisor() as supervisor, pytest.raises(ChildGaveUp, match=r"not ready within 0\.2 s"):
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
def own(tmp_path):
    """Start processes that each supervise some code; kill them in the end."""
    with contextlib.ExitStack() as stack:

        def start(code: str, processes: int) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-c", OWNER, str(tmp_path), code]
            owner = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            stack.callback(owner.kill)
            eventually(lambda: len(pids(tmp_path)) == processes)
            return owner

        yield start


def test_nothing_survives_the_kill_of_the_parent(tmp_path, own):
    owner = own(TREE, 3)
    everybody = [*pids(tmp_path), *family(owner.pid)]

    owner.kill()
    owner.wait()

    eventually(lambda: not any(alive(pid) for pid in everybody))


@on_linux
def test_a_killed_keeper_takes_its_child_along_and_both_start_again(tmp_path, own):
    owner = own(PAIR, 2)
    before = pids(tmp_path)

    keeper_of(owner.pid).kill()

    eventually(lambda: len(pids(tmp_path)) == 4)
    assert not any(alive(pid) for pid in before)


@on_linux
def test_no_child_survives_the_kill_of_parent_and_keeper_together(tmp_path, own):
    owner = own(ALONE, 1)
    (child,) = pids(tmp_path)

    owner.send_signal(signal.SIGSTOP)  # so that it can't help
    keeper_of(owner.pid).kill()
    owner.kill()

    eventually(lambda: not alive(child))


@on_linux
def test_a_child_that_supervises_leaves_nothing_when_all_above_it_are_killed(tmp_path, own):
    owner = own(NESTED, 3)
    everybody = [*pids(tmp_path), *family(owner.pid)]

    owner.send_signal(signal.SIGSTOP)
    keeper_of(owner.pid).kill()
    owner.kill()

    assert len(everybody) > 5
    eventually(lambda: not any(alive(pid) for pid in everybody))


def test_ctrl_c_in_the_terminal_does_not_reach_a_child(tmp_path, own):
    owner = own(PAIR, 2)
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
    command = ("/bin/sh", "-c", "id -un > mine")

    finish(script(tmp_path, "", command=command, user="nobody", folder=folder), timeout_s=20)

    assert (folder / "mine").read_text().strip() == "nobody"


def test_a_child_that_is_stopped_as_soon_as_it_is_started_hears_of_it(tmp_path: Path) -> None:
    sleeper = Child(
        name="sleeper", command=("sleep", "600"), env=ENV, log=tmp_path / "log", grace_s=600
    )

    for _ in range(10):
        with Supervisor() as supervisor:
            supervisor.start(sleeper)
