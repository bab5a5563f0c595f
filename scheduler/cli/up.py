"""``enlarger up``: the whole system on this machine with its HTTP interface, until stopped."""

import signal
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from scheduler.cli.connection import System
    from scheduler.embedded.system import Api

OWNER = "local"
"""Whose requests those with the first key are."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(1, 65535),
              help="Port to listen at.")  # fmt: skip
def up(host: str, port: int) -> None:
    """Run everything on this machine, and serve requests over HTTP, until Ctrl-C.

    PostgreSQL, Redis, a scheduler (which sends webhooks, too), a worker and the API are started,
    kept running, and stopped in order. What they know lies in ENLARGER_HOME. The first start
    prints a key.

    \b
    Examples:
      enlarger up
      enlarger up --host 0.0.0.0 --port 80
    """
    from scheduler.api import server
    from scheduler.cli.embedding import embed
    from scheduler.embedded.system import Api

    server.listen(host, port).close()  # says so at once where somebody else does
    api = Api(host=host, port=port)
    embed(lambda system: _serve(system, api), api=api)


def _serve(system: "System", api: "Api") -> bool:
    from scheduler.cli.output import say

    say(f"Serving at {api.url}; Ctrl-C stops it. Logs are in {system.settings.home}/logs.")
    _hand_out_first_key(system)
    while True:
        signal.pause()  # until an interruption unwinds it: ours, or that of a child that gave up


def _hand_out_first_key(system: "System") -> None:
    """Print a key where there was never any, so that a new system can be used at once."""
    from scheduler.cli.output import say
    from scheduler.ledger import keys

    with system.ledger.begin() as session:
        if keys.listed(session):
            say("Keys: `enlarger keys list`, `enlarger keys create`.")
            return
        made = keys.create(session, keys.Grant(owner=OWNER, name="made by `enlarger up`"))
    say("A key for your clients, shown this once; `enlarger keys` makes more:")
    click.echo(f"FAL_KEY={made}")
