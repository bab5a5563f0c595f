"""``enlarger buckets``: the buckets of a store that a system brings along."""

import click


@click.group()
def buckets() -> None:
    """Make buckets in the S3 store of the settings.

    \b
    Example:
      enlarger buckets create photos enlarger
    """


@buckets.command()
@click.argument("names", metavar="NAME…", nargs=-1)
def create(names: tuple[str, ...]) -> None:
    """Make the buckets that are not there yet; safe to call twice. Without names it does nothing.

    \b
    Example:
      ENLARGER_S3_ENDPOINT_URL=http://store:8333 enlarger buckets create photos enlarger
    """
    from scheduler.settings import load
    from scheduler.storage import open_storage

    storage = open_storage(load())
    for name in names:
        made = storage.make_bucket(name)
        click.echo(f"{name}: made." if made else f"{name}: is there.", err=True)
