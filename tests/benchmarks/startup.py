"""How long a user waits for `enlarger --help`, beside what it stands on."""

import subprocess
import sys
import time
from collections.abc import Sequence

from tests.benchmarks.figures import Figure, Report, load
from tests.benchmarks.servers import Servers

TIMES = 15
TARGET = 3.0


def run(_servers: Servers) -> Report:
    """Take the best of several starts, ours and the baseline's in turn."""
    ours: list[float] = []
    plain: list[float] = []
    for _ in range(TIMES):
        ours.append(_seconds([sys.executable, "-m", "scheduler.cli", "--help"]))
        plain.append(_seconds([sys.executable, "-c", "import click, rich"]))
    ratio = min(ours) / min(plain)
    figure = Figure(
        name="enlarger --help",
        measured=f"{min(ours) * 1000:.0f} ms",
        baseline=f"python -c 'import click, rich': {min(plain) * 1000:.0f} ms",
        ratio=f"{ratio:.2f} x",
        target=f"<= {TARGET:g} x",
        met=ratio <= TARGET,
    )
    return Report(figures=(figure,), notes=(f"help: best of {TIMES} starts; load {load()}",))


def _seconds(command: Sequence[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began
