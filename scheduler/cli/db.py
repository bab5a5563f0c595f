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
@click.argument("revision")
def downgrade(revision: str) -> None:
    """Take the newest migrations back, down to REVISION, before an older version is run again.

    What only they could keep is lost. Stop every process of the newer version first: a scheduler
    brings the schema up again when it starts.

    \b
    Example:
      enlarger db downgrade 0017
    """
    from scheduler.ledger import session
    from scheduler.settings import load

    session.downgrade(load(), revision)
    click.echo(f"The schema is at {revision}.", err=True)


@db.command()
def check() -> None:
    """Say whether the schema is up to date, or newer; exit 1 if it is older.

    \b
    Example:
      enlarger db check || enlarger db upgrade
    """
    from scheduler.ledger import session
    from scheduler.settings import load

    found, newest = session.revisions(load())
    if session.is_newer(found):
        click.echo(f"The schema is newer ({found}) than this version's ({newest}).", err=True)
        return
    if found != newest:
        reason = (
            f"the schema is at {found or 'nothing'}, not at {newest}: run `enlarger db upgrade`"
        )
        raise click.ClickException(reason)
    click.echo(f"The schema is up to date ({newest}).", err=True)
