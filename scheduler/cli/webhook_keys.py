"""``enlarger webhooks keys``: what messages are signed with."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli.options import as_json

if TYPE_CHECKING:
    from scheduler.ledger.webhook_keys import Key

OVERLAP_H = 25.0
"""fal's verifiers keep the key set for up to 24 hours."""


@click.group()
def keys() -> None:
    """Show and rotate the keys that messages are signed with.

    \b
    Examples:
      enlarger webhooks keys list
      enlarger webhooks keys rotate ed25519
    """


@keys.command(name="list")
@click.option("--secrets", is_flag=True, help="Show the secrets of v1 signatures as well.")
@as_json
def list_(*, secrets: bool, as_json: bool) -> None:
    """List the valid keys: whsec_… is a secret for v1, whpk_… a public key for v1a and fal's.

    \b
    Example:
      enlarger webhooks keys list --secrets
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import moment, print_json, print_table
    from scheduler.ledger import webhook_keys

    with connected() as system, system.ledger.begin() as session:
        webhook_keys.ensure(session)
        found = [_described(key, secrets=secrets) for key in webhook_keys.valid(session)]
    if as_json:
        for each in found:
            print_json(each)
        return
    print_table(
        ("id", "kind", "of", "key", "signs from", "expires"),
        [
            (
                str(each["id"]),
                each["kind"],
                (each["subscription"] or "the system")[-10:],
                each["key"],
                moment(each["signs_from"]),
                moment(each["expires_at"]) if each["expires_at"] else "",
            )
            for each in found
        ],
    )


def _described(key: "Key", *, secrets: bool) -> dict[str, Any]:
    from scheduler.webhooks import signing

    hidden = key.kind == "hmac" and not secrets
    return {
        "id": key.id,
        "kind": str(key.kind),
        "subscription": None if key.subscription_id is None else str(key.subscription_id),
        "key": f"{signing.SECRET_PREFIX}…" if hidden else signing.spelt(key),
        "created_at": key.created_at,
        "signs_from": key.signs_from,
        "expires_at": key.expires_at,
    }


@keys.command()
@click.argument("kind", type=click.Choice(("ed25519", "hmac")))
@click.option("--overlap", "overlap_h", default=OVERLAP_H, show_default=True, metavar="HOURS",
              type=click.FloatRange(0, 24 * 365),
              help="How long consumers have to learn of the new key; 0 if the old one leaked.",
              )  # fmt: skip
@click.option("--subscription", help="Rotate the secret of this subscription.")
def rotate(kind: str, overlap_h: float, subscription: str | None) -> None:
    """Make a new key of KIND and let the old one go, with an overlap; print the new one.

    The new key is valid, and published, at once. Messages of Standard Webhooks are signed with both
    during the overlap, and as long again; fal's with the old one, then with the new.

    \b
    Examples:
      enlarger webhooks keys rotate ed25519
      enlarger webhooks keys rotate hmac --overlap 72 --subscription 5c1f09aa
    """
    from scheduler.cli.connection import connected
    from scheduler.ledger import subscriptions, webhook_keys
    from scheduler.ledger.webhook_tables import KeyKind
    from scheduler.webhooks import signing

    if subscription is not None and kind != "hmac":
        reason = "a subscription has no key of its own but an hmac one"
        raise click.UsageError(reason)
    with connected() as system, system.ledger.begin() as session:
        id_ = None if subscription is None else subscriptions.find(session, subscription).id
        webhook_keys.rotate(
            session, KeyKind(kind), overlap=timedelta(hours=overlap_h), subscription_id=id_
        )
        click.echo(signing.spelt(webhook_keys.own(session, id_, KeyKind(kind))))
