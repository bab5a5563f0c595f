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
    from scheduler.cli.connection import connected
    from scheduler.cli.output import say
    from scheduler.ledger import batches

    with connected() as system:
        id_ = batches_.id_of(system, batch)
        with system.ledger.begin() as session:
            changed = batches.cancel(session, id_)
    say("Cancelled." if changed else "There was nothing left to cancel.")
