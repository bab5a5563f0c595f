"""`enlarger run` is killed: nothing of it stays behind, and the next run carries on."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from scheduler.embedded.system import PACKAGES
from tests.system.invariants import decoded, enlarged
from tests.system.paced import ENDPOINT
from tests.system.system import photo
from tests.system.waiting import wait_for

pytestmark = pytest.mark.faults

LATEST_S = 6.0
"""By then a run is in the middle of its batch, if not at its end."""
GONE_S = 20.0
DONE_S = 90.0
PHOTOS = 12


def test_a_killed_embedded_run_leaves_no_process_and_the_next_run_finishes_its_work(
    tmp_path: Path, chance: random.Random, strikes: int
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()

    for strike in range(strikes):
        for number in range(strike * PHOTOS, (strike + 1) * PHOTOS):  # never nothing left to do
            photos.joinpath(f"{number}.png").write_bytes(photo(number))
        with _embedded_run(tmp_path) as run:
            _let_it_work(run, chance.uniform(0.0, LATEST_S))
            run.kill()
        wait_for("the orphans to end", lambda: not _processes_in(tmp_path), within_s=GONE_S)

    with _embedded_run(tmp_path) as run:
        assert run.wait(DONE_S) == 0, (tmp_path / "run.log").read_text()
    assert not _processes_in(tmp_path)
    for source in photos.iterdir():
        result = tmp_path / "results" / source.name
        assert decoded(result.read_bytes()) == enlarged(source.read_bytes())


@contextmanager
def _embedded_run(folder: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Enlarge the photos as a user does; not under a keeper, which would tidy up after it."""
    words = ["run", str(folder / "photos"), "--to", str(folder / "results")]
    words += ["--endpoint", ENDPOINT]
    environment = os.environ | {
        "ENLARGER_HOME": str(folder / "home"),
        "PYTHONPATH": str(PACKAGES),
    }
    with (
        (folder / "run.log").open("ab") as log,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "scheduler.cli", *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        ) as run,
    ):
        try:
            yield run
        finally:
            run.kill()


def _let_it_work(run: "subprocess.Popen[bytes]", for_s: float) -> None:
    """Wait until the moment to strike has come, unless the run is sooner at its end."""
    try:
        run.wait(for_s)
    except subprocess.TimeoutExpired:
        return


def _processes_in(folder: Path) -> list[str]:
    """Describe the processes that work in a folder, or were told to."""
    return [
        f"{process.pid} {process.info['cmdline']}"
        for process in psutil.process_iter(["cmdline", "cwd", "environ", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and str(folder) in _traces(process.info)
    ]


def _traces(info: dict[str, object]) -> str:
    return f"{info['cmdline']} {info['cwd']} {info['environ']}"
