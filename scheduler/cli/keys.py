"""``enlarger keys``: who may use the API, and for what."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from scheduler.cli.options import as_json

if TYPE_CHECKING:
    from scheduler.ledger.request_tables import ApiKey

SCOPES = ("requests", "files", "batches", "metrics")


@click.group()
def keys() -> None:
    """Make, list and revoke keys to the API.

    \b
    Example:
      export FAL_KEY=$(enlarger keys create --owner alice)
    """


@keys.command()
@click.option("--owner", required=True, help="Whose requests it makes and sees.")
@click.option("--name", default="", help="For people.")
@click.option("--scope", "scopes", multiple=True, type=click.Choice(SCOPES),
              help="A use; again for more. All but metrics if not given.")  # fmt: skip
@click.option("--max-queued", type=click.IntRange(1), metavar="N",
              help="Requests of the owner that may wait at once.")  # fmt: skip
@click.option("--per-minute", type=click.IntRange(1), metavar="N",
              help="Requests it may submit in a minute, to each process of the API.")  # fmt: skip
def create(
    owner: str, name: str, scopes: tuple[str, ...], max_queued: int | None, per_minute: int | None
) -> None:
    """Make a key and print it, as ID:SECRET. The secret can't be shown again.

    \b
    Example:
      enlarger keys create --owner alice --max-queued 1000
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import say
    from scheduler.ledger import keys as ledger_keys

    grant = ledger_keys.Grant(
        owner=owner,
        name=name,
        scopes=ledger_keys.scopes(scopes),
        max_queued=max_queued,
        per_minute=per_minute,
    )
    with connected() as system, system.ledger.begin() as session:
        made = ledger_keys.create(session, grant)
    say("Keep it: only its hash is stored. Clients send it as `Authorization: Key ID:SECRET`.")
    click.echo(made)


@keys.command(name="list")
@as_json
def list_(*, as_json: bool) -> None:
    """List the keys, without their secrets.

    \b
    Example:
      enlarger keys list --json
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import print_json, print_table
    from scheduler.ledger import keys as ledger_keys

    with connected() as system, system.ledger.begin() as session:
        found = [_described(key) for key in ledger_keys.listed(session)]
    if as_json:
        for each in found:
            print_json(each)
        return
    print_table(
        ("key", "owner", "name", "scopes", "limits", "state"),
        [
            (
                each["id"],
                each["owner"],
                each["name"],
                ", ".join(each["scopes"]),
                _limits(each),
                "revoked" if each["revoked_at"] else "good",
            )
            for each in found
        ],
    )


@keys.command()
@click.argument("key_id", type=click.UUID)
def revoke(key_id: UUID) -> None:
    """Let the key with this id be good for nothing, within five seconds.

    \b
    Example:
      enlarger keys revoke 0f9b1c34-2f5e-4c56-9d5f-3f2f9a1f7a11
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import say
    from scheduler.ledger import keys as ledger_keys

    with connected() as system, system.ledger.begin() as session:
        changed = ledger_keys.revoke(session, key_id)
    say("It is revoked." if changed else "It was revoked before.")


def _described(key: "ApiKey") -> dict[str, Any]:
    return {
        "id": str(key.id),
        "owner": key.owner,
        "name": key.name,
        "scopes": key.scopes,
        "max_queued": key.max_queued,
        "per_minute": key.per_minute,
        "created_at": key.created_at,
        "revoked_at": key.revoked_at,
    }


def _limits(key: dict[str, Any]) -> str:
    parts = []
    if key["max_queued"] is not None:
        parts.append(f"{key['max_queued']} waiting")
    if key["per_minute"] is not None:
        parts.append(f"{key['per_minute']} a minute")
    return ", ".join(parts)
