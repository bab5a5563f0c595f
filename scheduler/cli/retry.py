"""``enlarger retry``: another chance for what did not succeed."""

import click

from scheduler.cli import batch as batches_


@click.command()
@batches_.argument
@click.option("--failed", "only_failed", is_flag=True, help="Only what failed, not the cancelled.")
def retry(batch: str, *, only_failed: bool) -> None:
    """Run again what failed or was cancelled in BATCH, and print how many jobs that is.

    Rejected rows stay rejected: mend the manifest and submit it. A batch that was cancelled while
    its source was read is read on.

    \b
    Example:
      enlarger retry 5c1f09aa --failed
    """
    from scheduler.ledger import batches
    from scheduler.ledger.tables import JobState

    states = [JobState.FAILED] if only_failed else [JobState.FAILED, JobState.CANCELLED]
    ledger = batches_.open_ledger()
    id_ = batches_.id_of(ledger, batch)
    with ledger.begin() as session:
        count = batches.retry(session, id_, states)
    click.echo(str(count))
