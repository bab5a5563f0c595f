"""``enlarger workers``: the fleet."""

from datetime import datetime

import click

from scheduler.cli.options import as_json


@click.command()
@as_json
def workers(*, as_json: bool) -> None:
    """Show the living workers: their device, what is resident, and which endpoints are ready.

    \b
    Examples:
      enlarger workers
      enlarger workers --json | jq '.[].device'
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import ago, gibibytes, print_json, print_table, say
    from scheduler.ledger import fleet

    with connected(running=True) as system, system.ledger.begin() as session:
        found = [fleet.describe(worker) for worker in fleet.alive(session)]
    if as_json:
        print_json(found)
        return
    rows = [
        (
            each["name"],
            each["device"],
            gibibytes(each["memory_bytes"]),
            "\n".join(each["ready"]),
            "\n".join(each["resident"]),
            ago(datetime.fromisoformat(each["last_seen"])),
        )
        for each in found
    ]
    if rows:
        print_table(("worker", "device", "memory", "ready", "resident", "last seen"), rows)
    else:
        say("No worker is alive; start one with `enlarger worker`.")
