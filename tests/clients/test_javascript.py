"""The unmodified npm packages against a whole system: each file is one run of `node --test`."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.api.live import Live
from tests.clients.test_curl import picture

HERE = Path(__file__).parent
OLDEST_NODE = 20
PATIENCE_S = 100


def node() -> str:
    """Return the program; skip where it, or what it needs, is not installed."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed: apt-get install nodejs npm")
    version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node is {version.stdout.strip()}, and {OLDEST_NODE} is needed")
    if not (HERE / "node_modules").exists():
        pytest.skip("the packages are not installed: make clients")
    return found


@pytest.mark.parametrize("script", sorted(path.name for path in HERE.glob("javascript/*.test.mjs")))
def test_the_packages_of_npm_work_unchanged(system: Live, script: str) -> None:
    env = {
        "PATH": os.environ["PATH"],
        "BASE": system.url,
        "KEY": system.key,
        "FAL_KEY": system.key,
        "PICTURE": picture(),
    }

    done = subprocess.run(
        [node(), "--test", f"javascript/{script}"],
        cwd=HERE,
        env=env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
