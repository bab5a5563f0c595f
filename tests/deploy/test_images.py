"""What the images are built from."""

import re
import subprocess
import sys

import pytest

from tests.deploy.compose import ROOT

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()


def requirements(*extras: str) -> set[str]:
    """Return the names of what a build installs."""
    command = [sys.executable, "deploy/requirements.py", *extras]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return {re.split(r"[^\w.-]", line)[0].lower() for line in out.splitlines()}


def test_only_workers_have_torch_and_numpy() -> None:
    heavy = {"torch", "diffusers", "transformers", "numpy"}

    assert requirements() & heavy == set()
    assert requirements("worker") > requirements() | heavy


@pytest.mark.parametrize("extras", [(), ("worker", "parquet")])
def test_everything_that_is_installed_is_pinned(extras: tuple[str, ...]) -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {line.split("==")[0].lower().replace("_", "-") for line in lines if "==" in line}

    found = {name.replace("_", "-") for name in requirements(*extras)}

    assert (found | {"hatchling"}) - pinned == set()


def test_whatever_is_copied_is_there_and_reaches_the_build() -> None:
    lines = re.findall(r"^COPY (?!--)(.+)", DOCKERFILE, re.MULTILINE)
    copied = {word for line in lines for word in line.split()[:-1]}
    let_in = set(re.findall(r"^!(\S+)", (ROOT / ".dockerignore").read_text(), re.MULTILINE))

    assert copied == let_in
    assert [path for path in copied if not (ROOT / path).exists()] == []
