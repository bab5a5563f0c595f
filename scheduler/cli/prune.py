"""``enlarger prune``: drop what is older than the settings keep."""

import click


@click.command()
def prune() -> None:
    """Drop the rows and events that are older than ENLARGER_KEEP_JOBS_S and ENLARGER_KEEP_EVENTS_S.

    The scheduler does so every hour; this is for now. Rows go by the week, once the last batch of
    the week has ended long enough ago; the batches themselves, with their counters, stay.

    \b
    Example:
      ENLARGER_KEEP_JOBS_S=2592000 enlarger prune
    """
    from scheduler import settings
    from scheduler.cli.connection import connected
    from scheduler.cli.output import say
    from scheduler.keeping import prune_all

    with connected() as system:
        pruned = prune_all(system.ledger, settings.load())
    weeks = sum(each.jobs for each in pruned)
    say(f"Dropped the rows of {weeks} weeks, and the events alone of {len(pruned) - weeks}.")
