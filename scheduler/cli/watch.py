"""``enlarger watch``: follow a batch to its end."""

import sys

import click

from scheduler.cli import batch as batches_
from scheduler.cli.options import as_json


@click.command()
@batches_.argument
@as_json
def watch(batch: str, *, as_json: bool) -> None:
    """Follow BATCH until it has ended, and say where its results are.

    Ctrl-C stops watching; the batch goes on. The exit status is 1 if something failed.

    \b
    Example:
      enlarger watch 5c1f09aa
    """
    from scheduler.cli.connection import desk
    from scheduler.cli.follow import conclude, follow

    with desk(running=True) as at:
        found = follow(at, [at.find(batch)])
        well = conclude(at, found, as_json=as_json)
    if not well:
        sys.exit(1)
