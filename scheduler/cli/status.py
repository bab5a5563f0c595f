"""``enlarger status``: where batches stand, at a cost that does not grow with them."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from scheduler.cli import batch as batches_
from scheduler.cli.options import as_json

if TYPE_CHECKING:
    from scheduler.ledger.batches import Progress

SHORT = 8
"""Enough of an id's end to name a batch."""


@click.command()
@click.argument("batch", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000),
              help="How many of the newest batches.")  # fmt: skip
@as_json
def status(batch: str | None, limit: int, *, as_json: bool) -> None:
    """Show where BATCH stands, or the newest batches.

    BATCH is an id, or its last six or more characters.

    \b
    Examples:
      enlarger status
      enlarger status 5c1f09aa --json
    """
    from scheduler.ledger import batches

    ledger = batches_.open_ledger()
    with ledger.begin() as session:
        if batch is None:
            found = batches.latest(session, limit=limit)
        else:
            found = [batches.progress(session, batches.find(session, batch))]
    if as_json:
        shown = [batches_.as_dict(each) for each in found]
        click.echo(json.dumps(shown if batch is None else shown[0]))
    else:
        _print(found)


def _print(found: Sequence["Progress"]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("batch", "state", "done", "failed", "rejected", "source", "destination")
    for each in found:
        total = f"{each.total}" if each.read_at else f"{each.total}+"
        table.add_row(
            each.id.hex[-SHORT:],
            str(each.state),
            f"{each.ended}/{total}",
            str(each.failed),
            str(each.rejected),
            Text(each.source),
            Text(each.destination),
        )
    Console().print(table)
    for each in found:
        if each.reason:
            click.echo(f"{each.id.hex[-SHORT:]}: {each.reason}", err=True)
