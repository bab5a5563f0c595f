"""The command as its users call it: a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scheduler.embedded.system import PACKAGES, environment
from scheduler.settings import Settings

COMMAND = (sys.executable, "-P", "-m", "scheduler.cli")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return the standard output as JSON."""
        return json.loads(self.out)


def enlarger(*arguments: str, settings: Settings | None = None, **more: str) -> Answer:
    """Run `enlarger`, with these settings and no others, and return when it has ended."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=surroundings(settings) | more,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return Answer(code=done.returncode, out=done.stdout, err=done.stderr)


def surroundings(settings: Settings | None) -> Mapping[str, str]:
    """Return a command's environment; without settings there is no system at all."""
    if settings is not None:
        return environment(settings)
    return dict(os.environ) | {"PYTHONPATH": str(PACKAGES)}
