"""docker-compose.yml as compose reads it, with the values of .env.example."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?P<how>:?[-?])(?P<rest>[^}]*)\}")
SECRETS = (
    "POSTGRES_PASSWORD",
    "ENLARGER_SECRET_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
)
OURS = ("enlarger-scheduler", "enlarger-worker", "enlarger-worker:cuda")


def example() -> dict[str, str]:
    """Return the values of .env.example as they stand there."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def filled_in() -> dict[str, str]:
    """Return the values of .env.example with its secrets filled in."""
    return example() | {name: f"{name.lower():x<40}" for name in SECRETS}


def text() -> str:
    return (ROOT / "docker-compose.yml").read_text()


def variables() -> Iterator[re.Match[str]]:
    """Yield every place where a variable is filled in."""
    yield from VARIABLE.finditer(text())


def loaded(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the file with variables filled in.

    Raises:
        KeyError: A variable that must be set is not; it is named.
    """

    def fill(match: re.Match[str]) -> str:
        found = values.get(match["name"])
        if found or (found == "" and ":" not in match["how"]):
            return found
        if "?" in match["how"]:
            raise KeyError(match["name"])
        return match["rest"]

    return dict(yaml.safe_load(VARIABLE.sub(fill, text())))


def services() -> dict[str, dict[str, Any]]:
    return dict(loaded(filled_in())["services"])


def ours() -> dict[str, dict[str, Any]]:
    """Return the services that run our images."""
    return {name: each for name, each in services().items() if each["image"] in OURS}
