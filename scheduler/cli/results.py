"""``enlarger results``: every row of a batch with its outcome."""

import click

from scheduler.cli import batch as batches_


@click.command()
@batches_.argument
@click.option("--failed", "only_failed", is_flag=True, help="Only rows that ended without result.")
def results(batch: str, *, only_failed: bool) -> None:
    """Print BATCH as JSON lines: each row with its outcome, in the order of the source.

    These are the lines of results.jsonl; for a batch that has not ended, those of now.

    \b
    Example:
      enlarger results 5c1f09aa --failed | jq -r '.error.message'
    """
    from scheduler.cli.connection import desk

    with desk() as at:
        for line in at.lines(at.find(batch), only_failed=only_failed):
            click.echo(line)
