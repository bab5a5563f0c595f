"""``enlarger db``: the ledger's schema."""

import click


@click.group()
def db() -> None:
    """Bring the ledger's schema up to date, or look whether it is.

    \b
    Example:
      enlarger db upgrade
    """


@db.command()
def upgrade() -> None:
    """Bring the database to the newest schema; safe to call twice, and from several places.

    \b
    Example:
      enlarger db upgrade
    """
    from scheduler.ledger import session
    from scheduler.settings import load

    session.upgrade(load())
    click.echo("The schema is up to date.", err=True)


@db.command()
def check() -> None:
    """Say whether the schema is up to date; exit 1 if it is not.

    \b
    Example:
      enlarger db check || enlarger db upgrade
    """
    from scheduler.ledger import session
    from scheduler.settings import load

    found, newest = session.revisions(load())
    if found != newest:
        reason = (
            f"the schema is at {found or 'nothing'}, not at {newest}: run `enlarger db upgrade`"
        )
        raise click.ClickException(reason)
    click.echo(f"The schema is up to date ({newest}).", err=True)
