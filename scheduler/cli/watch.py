"""``enlarger watch``: follow a batch to its end."""

import sys

import click

from scheduler.cli import batch as batches_


@click.command()
@batches_.argument
def watch(batch: str) -> None:
    """Follow BATCH until it has ended, and say where its results are.

    Ctrl-C stops watching; the batch goes on. The exit status is 1 if something failed.

    \b
    Example:
      enlarger watch 5c1f09aa
    """
    from scheduler.cli.follow import conclude, follow

    ledger = batches_.open_ledger()
    found = follow(ledger, [batches_.id_of(ledger, batch)])
    if not conclude(found):
        sys.exit(1)
