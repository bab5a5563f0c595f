"""``enlarger cancel``: let nothing of a batch start any more."""

import click

from scheduler.cli import batch as batches_


@click.command()
@batches_.argument
def cancel(batch: str) -> None:
    """Cancel what is left of BATCH.

    What is done stays. `enlarger retry` takes it up again.

    \b
    Example:
      enlarger cancel 5c1f09aa
    """
    from scheduler.ledger import batches

    ledger = batches_.open_ledger()
    id_ = batches_.id_of(ledger, batch)
    with ledger.begin() as session:
        changed = batches.cancel(session, id_)
    click.echo("Cancelled." if changed else "There was nothing left to cancel.", err=True)
