"""``enlarger doctor``: what is wrong with this set-up, and what to do about it."""

import sys

import click

from scheduler.cli.options import as_json


@click.command()
@click.option("--destination", metavar="DEST", help="Also try to write, read and delete here.")
@as_json
def doctor(destination: str | None, *, as_json: bool) -> None:
    """Check the settings, database, Redis, storage, devices and weights.

    Each fault comes with its remedy; the exit status is 1 if there is one.

    \b
    Examples:
      enlarger doctor
      enlarger doctor --destination s3://photos/out/ --json
    """
    from scheduler.cli.output import print_json, printable
    from scheduler.doctor import examine
    from scheduler.settings import load

    findings = []
    for each in examine(load(), destination=destination):
        findings.append(each)
        if not as_json:
            mark = click.style("✓", fg="green") if each.ok else click.style("✗", fg="red")
            click.echo(f"{mark} {each.name}: {printable(each.detail)}")
        if not as_json and not each.ok:
            click.echo(f"    {each.remedy}")
    if as_json:
        print_json([vars(each) for each in findings])
    if not all(each.ok for each in findings):
        sys.exit(1)
