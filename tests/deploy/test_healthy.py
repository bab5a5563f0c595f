"""The health check of the images."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from scheduler.pulse import STALE_S
from tests.faulty_http import Faulty, Request, faulty_http

HEALTHY = Path(__file__).parents[2] / "deploy" / "healthy"


def healthy(*arguments: str, **environment: str) -> int:
    done = subprocess.run(
        [HEALTHY, *arguments], env=os.environ | environment, check=False, timeout=20
    )
    return done.returncode


@pytest.mark.parametrize(("age_s", "status"), [(0, 0), (STALE_S - 5, 0), (STALE_S + 5, 1)])
def test_a_process_is_well_as_long_as_it_touches_its_file(
    tmp_path: Path, age_s: float, status: int
) -> None:
    file = tmp_path / "pulse"
    file.touch()
    os.utime(file, (time.time() - age_s,) * 2)

    assert healthy("pulse", ENLARGER_PULSE=str(file)) == status


def test_a_process_that_never_touched_its_file_is_not_well(tmp_path: Path) -> None:
    assert healthy("pulse", ENLARGER_PULSE=str(tmp_path / "pulse")) == 1


@pytest.mark.parametrize(("answer", "status"), [(200, 0), (503, 1)])
def test_an_api_is_well_if_it_answers_200(answer: int, status: int) -> None:
    def reply(request: Request, _server: Faulty) -> None:
        request.answer(answer if request.path == "/readyz" else 404, b"{}")

    with faulty_http(reply) as server:
        port = server.url.rpartition(":")[2]

        assert healthy("http", "/readyz", PORT=port) == status


def test_an_api_that_nobody_serves_is_not_well() -> None:
    assert healthy("http", "/readyz", PORT="1") == 1
