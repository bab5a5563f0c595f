"""What several commands ask for, and how what was typed becomes values."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from models.catalog import DEFAULT_ENDPOINT

if TYPE_CHECKING:
    from scheduler.manifests import Dialect

Command = TypeVar("Command", bound=Callable[..., Any])

MOST_SAMPLED = 1000
"""Of an estimate: more rows would hardly narrow it."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def order_options(command: Command) -> Command:
    """Add what `run` and `submit` have in common: which images, by what, and to where."""
    for option in reversed(_ORDER):
        command = option(command)
    return command


def dialect_of(
    manifest_format: str | None, fields: tuple[str, ...], encoding: str | None, *, comments: bool
) -> "Dialect":
    """Return what the options of `order_options` say about a manifest."""
    from scheduler.manifests import Dialect, Encoding

    return Dialect(
        format=manifest_format,
        fields=fields,
        encoding=None if encoding is None else Encoding(encoding),
        comments=comments,
    )


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


def _names(
    _context: click.Context, _parameter: click.Parameter, given: str | None
) -> tuple[str, ...]:
    """Read names that are separated by commas."""
    return tuple(name.strip() for name in given.split(",")) if given else ()


@dataclass(frozen=True, kw_only=True)
class Wish:
    """An estimate that is asked for.

    Attributes:
        count: How many rows are run for it.
        price_per_hour: What an hour of a worker costs; None where that is not asked.
    """

    count: int
    price_per_hour: float | None


def wish_of(estimate: int | None, price_per_hour: float | None) -> Wish | None:
    """Return the estimate that the options ask for; None where they ask for the work itself.

    Raises:
        UsageError: There is a price, and nothing to be priced.
    """
    if estimate is not None:
        return Wish(count=estimate, price_per_hour=price_per_hour)
    if price_per_hour is not None:
        reason = "--price-per-hour says what an estimate costs; add --estimate N"
        raise click.UsageError(reason)
    return None


def _value(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return json.loads(text)
    except ValueError:
        return text


endpoint = click.option(
    "--endpoint",
    default=DEFAULT_ENDPOINT,
    show_default=True,
    metavar="ID",
    help="See `enlarger endpoints`.",
)
arguments = click.option(
    "--set",
    "arguments",
    multiple=True,
    metavar="NAME=VALUE",
    callback=_arguments,
    help="An argument of the endpoint; again for more.",
)

_ORDER = (
    click.option(
        "--to", "destination", required=True, metavar="DEST", help="Folder or s3:// prefix."
    ),
    endpoint,
    arguments,
    click.option(
        "--include",
        multiple=True,
        metavar="GLOB",
        help="Take only these from a folder or prefix, e.g. '*.jpg' or '2024/*'; again for more.",
    ),
    click.option(
        "--exclude", multiple=True, metavar="GLOB", help="Leave these out; again for more."
    ),
    click.option(
        "--format",
        "manifest_format",
        type=click.Choice(("jsonl", "csv", "inventory", "sagemaker", "list", "parquet")),
        help="Read SOURCE as this kind of manifest, whatever it looks like.",
    ),
    click.option(
        "--fields",
        metavar="NAME,NAME...",
        callback=_names,
        help="A CSV manifest's columns: Bucket, Key, VersionId, Ignore, or names of your own.",
    ),
    click.option(
        "--encoding",
        type=click.Choice(("url", "raw", "auto")),
        help="How a manifest's keys are written: %20 and + for a blank, or as they are.",
    ),
    click.option(
        "--comments", is_flag=True, help="In a plain list, lines that begin with # are comments."
    ),
    click.option(
        "--max-rejected",
        metavar="N",
        type=click.IntRange(min=0),
        help="Cancel the batch when more than N rows of its manifest are bad.",
    ),
    click.option(
        "--again", is_flag=True, help="Do it anew even if it was done before; reuse nothing."
    ),
    click.option(
        "--webhook",
        metavar="URL",
        help="Tell this address when the batch has finished, and when its report is there.",
    ),
    click.option("--in-place", is_flag=True, help="Let a result replace its own source."),
    click.option(
        "--skip-existing", is_flag=True, help="Leave alone what has a result there already."
    ),
    click.option(
        "--no-reuse", is_flag=True, help="Compute even what an earlier batch has computed."
    ),
    click.option(
        "--estimate",
        metavar="N",
        type=click.IntRange(1, MOST_SAMPLED),
        help="Run N of the images only, and say how long all will take, and what they will cost.",
    ),
    click.option(
        "--price-per-hour",
        metavar="X",
        type=click.FloatRange(min=0),
        help="What a worker's hour costs, for --estimate.",
    ),
)
