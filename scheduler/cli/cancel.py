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
    from scheduler.cli.connection import desk
    from scheduler.cli.output import say

    with desk() as at:
        changed = at.cancel(at.find(batch))
    say("Cancelled." if changed else "There was nothing left to cancel.")
