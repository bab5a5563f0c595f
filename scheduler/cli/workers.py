"""``enlarger workers``: the fleet."""

import json

import click

from scheduler.cli import batch as batches_
from scheduler.cli.options import as_json

GIBIBYTE = 2**30


@click.command()
@as_json
def workers(*, as_json: bool) -> None:
    """Show the living workers: their device, what is resident, and which endpoints are ready.

    \b
    Examples:
      enlarger workers
      enlarger workers --json | jq '.[].device'
    """
    from scheduler.ledger import fleet

    ledger = batches_.open_ledger()
    with ledger.begin() as session:
        found = [fleet.describe(worker) for worker in fleet.alive(session)]
    if as_json:
        click.echo(json.dumps(found))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("worker", "device", "memory", "ready", "resident", "last seen")
    for each in found:
        table.add_row(
            each["name"],
            each["device"],
            f"{each['memory_bytes'] / GIBIBYTE:.1f} GiB",
            "\n".join(each["ready"]),
            "\n".join(each["resident"]),
            each["last_seen"][:19],
        )
    Console().print(table)
    if not found:
        click.echo("No worker is alive; start one with `enlarger worker`.", err=True)
