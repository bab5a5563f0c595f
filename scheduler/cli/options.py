"""What several commands ask for, and how what was typed becomes values."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from models.catalog import DEFAULT_ENDPOINT
from models.errors import ArgumentInvalid

if TYPE_CHECKING:
    from scheduler.settings import Settings

Command = TypeVar("Command", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def order_options(command: Command) -> Command:
    """Add what `run` and `submit` have in common: which images, by what, and to where."""
    for option in reversed(_ORDER):
        command = option(command)
    return command


_ORDER = (
    click.option(
        "--to", "destination", required=True, metavar="DEST", help="Folder or s3:// prefix."
    ),
    click.option(
        "--endpoint", default=DEFAULT_ENDPOINT, show_default=True, help="See `enlarger endpoints`."
    ),
    click.option(
        "--set",
        "assignments",
        multiple=True,
        metavar="NAME=VALUE",
        help="An argument of the endpoint; again for more.",
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="GLOB",
        help="Take only these from a folder or prefix, e.g. '*.jpg' or '2024/**'.",
    ),
    click.option("--exclude", multiple=True, metavar="GLOB", help="Leave these out."),
    click.option("--again", is_flag=True, help="Do it anew even if it was done before."),
    click.option("--in-place", is_flag=True, help="Let a result replace its own source."),
)


def arguments_of(assignments: tuple[str, ...]) -> dict[str, Any]:
    """Read `name=value` pairs: a value is JSON where it can be read so, else text.

    Raises:
        ArgumentInvalid: There is no `=`.
    """
    found: dict[str, Any] = {}
    for assignment in assignments:
        name, mark, value = assignment.partition("=")
        if not mark or not name:
            reason = f"--set {assignment!r}: write NAME=VALUE, for instance --set scale=4"
            raise ArgumentInvalid(reason)
        found[name] = _value(value)
    return found


def _value(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return json.loads(text)
    except ValueError:
        return text


def load_settings() -> "Settings":
    """Read the settings; a bad one is named with its environment variable.

    Raises:
        SettingsInvalid: A value is of the wrong type or out of range.
    """
    from pydantic import ValidationError

    from scheduler.errors import SettingsInvalid
    from scheduler.settings import Settings

    try:
        return Settings()
    except ValidationError as exc:
        error = exc.errors()[0]
        name = str(error["loc"][0])
        reason = f"ENLARGER_{name.upper()}: {error['input']!r}: {error['msg']}"
        raise SettingsInvalid(reason, field=name) from exc
