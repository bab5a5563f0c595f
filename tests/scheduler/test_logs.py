"""Logs are worth less than the work that they tell of."""

import subprocess
import sys
from pathlib import Path

import pytest

CHATTER = """
import structlog
from scheduler import logs
from scheduler.settings import Settings

logs.configure(Settings(log_format="FORMAT"))
for number in range(3):
    structlog.get_logger().error("x" * 9000, number=number)
print("still here")
"""


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_log_that_finds_no_room_on_the_disk_does_not_stop_the_work(log_format: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", CHATTER.replace("FORMAT", log_format)],
            stdout=subprocess.PIPE,
            stderr=full,
            timeout=60,
            check=False,
        )

    assert done.stdout == b"still here\n"
