"""``enlarger webhooks``: who is told of what, and what became of the messages."""

from typing import TYPE_CHECKING, Any

import click

from scheduler.cli.options import as_json
from scheduler.cli.webhook_deliveries import deliveries, replay
from scheduler.cli.webhook_keys import keys
from scheduler.cli.webhook_status import status
from scheduler.cli.webhook_test import test

if TYPE_CHECKING:
    from scheduler.ledger.webhook_tables import Subscription
    from scheduler.settings import Settings

subscription_argument = click.argument("subscription")


@click.group()
def webhooks() -> None:
    """Tell others of what happens to jobs and batches.

    \b
    Examples:
      enlarger webhooks add https://example.org/hook --events job.failed,batch.finished
      enlarger webhooks test https://example.org/hook
      enlarger webhooks deliveries --dead
    """


webhooks.add_command(deliveries)
webhooks.add_command(replay)
webhooks.add_command(keys)
webhooks.add_command(status)
webhooks.add_command(test)


@webhooks.command()
@click.argument("url")
@click.option("--events", metavar="TYPE,TYPE…",
              help="What it is told of; the ends of batches if not given.")  # fmt: skip
@click.option("--batch", help="Only of this batch and its jobs.")
@click.option("--endpoint", metavar="ID", help="Only of jobs and batches with this endpoint.")
@click.option("--prefix", metavar="ADDRESS", help="Only where the source's address begins so.")
@click.option("--owner", default="", help="Only of this owner's batches.")
@click.option("--style", type=click.Choice(("ours", "fal")), default="ours", show_default=True,
              help="The shape and signature of the messages.")  # fmt: skip
@as_json
def add(
    url: str,
    events: str | None,
    batch: str | None,
    endpoint: str | None,
    prefix: str | None,
    owner: str,
    style: str,
    *,
    as_json: bool,
) -> None:
    """Tell URL of events from now on, and print the subscription's id.

    Types are job.succeeded, job.failed, job.cancelled, job.rejected, batch.submitted,
    batch.paused, batch.resumed, batch.cancelled, batch.retried, batch.unreadable, batch.finished
    and batch.reported. The subscription gets a secret of its own, which is shown here.

    \b
    Examples:
      enlarger webhooks add https://example.org/hook --events job.failed,batch.finished
      enlarger webhooks add https://example.org/hook --batch 5c1f09aa
      enlarger webhooks add https://example.org/hook --events job.succeeded --prefix s3://photos/
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import print_json, say
    from scheduler.ledger import batches, subscriptions, webhook_keys
    from scheduler.ledger.webhook_tables import KeyKind, Style
    from scheduler.webhooks import signing

    with connected() as system:
        _warn(url, system.settings)
        with system.ledger.begin() as session:
            id_ = subscriptions.subscribe(
                session,
                url=url,
                style=Style(style),
                events=[each.strip() for each in (events or "").split(",") if each.strip()],
                batch_id=None if batch is None else batches.find(session, batch),
                endpoint=endpoint,
                prefix=prefix,
                owner=owner,
            )
            secret = signing.spelt(webhook_keys.own(session, id_, KeyKind.HMAC))
    if as_json:
        print_json({"subscription": str(id_), "secret": secret})
        return
    if style == "ours":
        say(f"Its secret, which verifies v1 signatures: {secret}")
    click.echo(str(id_))


def _warn(url: str, settings: "Settings") -> None:
    """Refuse a URL that may not be reached; say so where its name is not known yet.

    Raises:
        UrlRefused: It is oddly spelt, or not public.
    """
    from scheduler.cli.output import say
    from scheduler.errors import NameUnresolved, UrlRefused
    from scheduler.guard import parse_url, resolve

    try:
        resolve(parse_url(url), settings.webhook_allow)
    except NameUnresolved as exc:
        say(f"{exc}. Messages wait until it is.")
    except UrlRefused as exc:
        raise UrlRefused(f"url: {exc} (ENLARGER_WEBHOOK_ALLOW)", field="url") from exc


@webhooks.command(name="list")
@as_json
def list_(*, as_json: bool) -> None:
    """List the subscriptions, all but those of single jobs.

    \b
    Example:
      enlarger webhooks list --json
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import print_json, print_table, say
    from scheduler.ledger import subscriptions

    with connected() as system, system.ledger.begin() as session:
        found = [_described(each) for each in subscriptions.standing(session)]
    if as_json:
        for each in found:
            print_json(each)
        return
    if not found:
        say("There are no subscriptions; `enlarger webhooks add` makes one.")
        return
    print_table(
        ("subscription", "url", "events", "of", "state"),
        [
            (each["id"][-8:], each["url"], "\n".join(each["events"]), _scope(each), _state(each))
            for each in found
        ],
    )


def _described(found: "Subscription") -> dict[str, Any]:
    return {
        "id": str(found.id),
        "url": found.url,
        "style": found.style,
        "events": found.events,
        "owner": found.owner,
        "batch": None if found.batch_id is None else str(found.batch_id),
        "endpoint": found.endpoint,
        "prefix": found.prefix,
        "state": found.state,
        "reason": found.reason,
        "failing_since": found.failing_since,
        "created_at": found.created_at,
    }


def _scope(found: dict[str, Any]) -> str:
    named = [found[name] for name in ("endpoint", "prefix", "owner") if found[name]]
    return "\n".join([*([f"batch {found['batch'][-8:]}"] if found["batch"] else []), *named])


def _state(found: dict[str, Any]) -> str:
    return f"{found['state']}\n{found['reason']}" if found["reason"] else str(found["state"])


@webhooks.command()
@subscription_argument
def remove(subscription: str) -> None:
    """Forget SUBSCRIPTION, its secret, and what is still to be sent to it.

    \b
    Example:
      enlarger webhooks remove 5c1f09aa
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import say
    from scheduler.ledger import subscriptions

    with connected() as system, system.ledger.begin() as session:
        subscriptions.remove(session, subscriptions.find(session, subscription).id)
    say("It is removed.")


@webhooks.command()
@subscription_argument
def pause(subscription: str) -> None:
    """Keep the messages for SUBSCRIPTION until `enlarger webhooks resume`.

    \b
    Example:
      enlarger webhooks pause 5c1f09aa
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import say
    from scheduler.ledger import subscriptions

    with connected() as system, system.ledger.begin() as session:
        found = subscriptions.find(session, subscription)
        changed = subscriptions.pause(session, found.id, "paused by hand")
    say("Paused." if changed else "It was not active.")


@webhooks.command()
@subscription_argument
def resume(subscription: str) -> None:
    """Let SUBSCRIPTION, which was paused or disabled, be told again, also of what was kept for it.

    \b
    Example:
      enlarger webhooks resume 5c1f09aa
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import say
    from scheduler.ledger import subscriptions

    with connected() as system, system.ledger.begin() as session:
        found = subscriptions.find(session, subscription)
        kept = subscriptions.resume(session, found.id)
    say(f"Resumed; {kept:,} messages were kept for it.")


@webhooks.command()
def schema() -> None:
    """Print the JSON Schema that all our messages follow.

    \b
    Example:
      enlarger webhooks schema > messages.schema.json
    """
    from scheduler.cli.output import print_json
    from scheduler.webhooks import envelope

    print_json(envelope.schema())
