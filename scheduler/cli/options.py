"""What several commands ask for, and how what was typed becomes values."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

import click

from models.catalog import DEFAULT_ENDPOINT

Command = TypeVar("Command", bound=Callable[..., Any])

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def order_options(command: Command) -> Command:
    """Add what `run` and `submit` have in common: which images, by what, and to where."""
    for option in reversed(_ORDER):
        command = option(command)
    return command


def _arguments(
    _context: click.Context, _parameter: click.Parameter, assignments: tuple[str, ...]
) -> dict[str, Any]:
    """Read `name=value` pairs: a value is JSON where it can be read so, else text."""
    found: dict[str, Any] = {}
    for assignment in assignments:
        name, mark, value = assignment.partition("=")
        if not mark or not name.strip():
            reason = f"{assignment!r}: write NAME=VALUE, for instance --set scale=4"
            raise click.BadParameter(reason)
        found[name.strip()] = _value(value)
    return found


def _value(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return json.loads(text)
    except ValueError:
        return text


_ORDER = (
    click.option(
        "--to", "destination", required=True, metavar="DEST", help="Folder or s3:// prefix."
    ),
    click.option(
        "--endpoint",
        default=DEFAULT_ENDPOINT,
        show_default=True,
        metavar="ID",
        help="See `enlarger endpoints`.",
    ),
    click.option(
        "--set",
        "arguments",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_arguments,
        help="An argument of the endpoint; again for more.",
    ),
    click.option(
        "--include",
        multiple=True,
        metavar="GLOB",
        help="Take only these from a folder or prefix, e.g. '*.jpg' or '2024/*'; again for more.",
    ),
    click.option(
        "--exclude", multiple=True, metavar="GLOB", help="Leave these out; again for more."
    ),
    click.option("--again", is_flag=True, help="Do it anew even if it was done before."),
    click.option("--in-place", is_flag=True, help="Let a result replace its own source."),
    click.option(
        "--skip-existing", is_flag=True, help="Leave alone what has a result there already."
    ),
)
