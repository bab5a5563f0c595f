"""``enlarger webhooks test``: try the way to a consumer."""

import asyncio
from typing import TYPE_CHECKING

import click

from scheduler.cli.options import as_json

if TYPE_CHECKING:
    from scheduler.settings import Settings
    from scheduler.webhooks.schedule import Answer


@click.command()
@click.argument("url")
@click.option("--subscription", help="Sign with the secret of this subscription.")
@as_json
def test(url: str, subscription: str | None, *, as_json: bool) -> None:
    """Send a signed sample to URL now, and show the answer; the exit code is 1 unless it is 2xx.

    \b
    Example:
      enlarger webhooks test https://example.org/hook
    """
    import sys

    from scheduler.cli.connection import connected
    from scheduler.cli.output import print_json, printable
    from scheduler.guard import parse_url
    from scheduler.ledger import subscriptions
    from scheduler.webhooks.signatory import Signatory

    target = str(parse_url(url))
    with connected() as system, system.ledger.begin() as session:
        owner = None if subscription is None else subscriptions.find(session, subscription).id
        body, headers = Signatory.read(session).sample(owner)
        settings = system.settings
    answer = asyncio.run(_send(target, body, headers, settings))
    if as_json:
        print_json(vars(answer))
    else:
        click.echo(f"{answer.status or 'no answer'} after {answer.seconds:.2f} s")
        click.echo(printable(answer.text, keep="\n"))
    sys.exit(0 if answer.status is not None and 200 <= answer.status < 300 else 1)


async def _send(url: str, body: bytes, headers: dict[str, str], settings: "Settings") -> "Answer":
    from scheduler.webhooks.client import Client

    async with Client(settings.webhook_allow) as client:
        return await client.post(url, body, headers, timeout_s=settings.webhook_timeout_s)
