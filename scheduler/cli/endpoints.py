"""``enlarger endpoints``: what can be asked for, and who can do it."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli.options import as_json

if TYPE_CHECKING:
    from models.catalog import Endpoint

NO_SYSTEM = "Which workers are ready is not known here: no system is running."


@click.command()
@click.argument("endpoint", required=False)
@as_json
def endpoints(endpoint: str | None, *, as_json: bool) -> None:
    """List the endpoints, or show the arguments of ENDPOINT.

    Where a system runs it also says which workers are ready, and why others are not.

    \b
    Examples:
      enlarger endpoints
      enlarger endpoints enlarger/lanczos
    """
    from models import catalog
    from scheduler.cli.output import print_json

    chosen = [catalog.find(endpoint)] if endpoint else list(catalog.ENDPOINTS.values())
    fleet = _fleet()
    found = [_describe(each, fleet) for each in chosen]
    if as_json:
        print_json(found if endpoint is None else found[0])
    elif endpoint:
        _print_one(found[0])
    else:
        _print_all(found)


def _fleet() -> list[dict[str, Any]] | None:
    """Return the living workers; None where no system runs that could be asked."""
    from models.errors import WorldError
    from scheduler import settings
    from scheduler.cli.connection import connected
    from scheduler.cli.output import say
    from scheduler.errors import SettingsInvalid
    from scheduler.ledger import fleet

    settings.load()  # a setting that is wrong is no reason to go on
    try:
        with connected(running=True) as system, system.ledger.begin() as session:
            return [fleet.describe(worker) for worker in fleet.alive(session)]
    except SettingsInvalid:
        return None  # the catalogue is worth reading before there is any system
    except WorldError as exc:
        say(str(exc))
        return None


def _describe(endpoint: "Endpoint", fleet: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    return {
        "id": endpoint.id,
        "summary": endpoint.summary,
        "schema": endpoint.request_class().model_json_schema(),
        "ready": None if fleet is None else _ready(endpoint, fleet),
        "not_ready": {
            each["name"]: "; ".join(reasons)
            for each in fleet or ()
            if (reasons := _reasons(endpoint, each))
        },
    }


def _ready(endpoint: "Endpoint", fleet: Sequence[dict[str, Any]]) -> list[str]:
    """Name the workers that can serve at least one of an endpoint's pipelines."""
    pipelines = set(endpoint.pipelines())
    return [each["name"] for each in fleet if pipelines & set(each["ready"])]


def _reasons(endpoint: "Endpoint", worker: dict[str, Any]) -> list[str]:
    """Say why a worker can't serve some of an endpoint's pipelines."""
    lacking = [each for each in endpoint.pipelines() if each in worker["not_ready"]]
    return [
        worker["not_ready"][each] if each == endpoint.id else f"{each}: {worker['not_ready'][each]}"
        for each in lacking
    ]


def _print_all(found: Sequence[dict[str, Any]]) -> None:
    from scheduler.cli.output import print_table

    rows = [
        (each["id"], "?" if each["ready"] is None else f"{len(each['ready'])}", each["summary"])
        for each in found
    ]
    print_table(("endpoint", "ready workers", ""), rows)


def _print_one(found: dict[str, Any]) -> None:
    from scheduler.arguments import parameters
    from scheduler.cli.output import print_table, say

    click.echo(f"{found['id']}: {found['summary']}")
    rows = [
        (
            each.name,
            "required" if each.required else json.dumps(each.default),
            each.allowed,
            each.description,
        )
        for each in parameters(found["id"])
    ]
    print_table(("argument", "default", "allowed", ""), rows)
    for worker in found["ready"] or ():
        click.echo(f"ready on {worker}")
    for worker, reason in found["not_ready"].items():
        click.echo(f"not ready on {worker}: {reason}")
    if found["ready"] is None:
        say(NO_SYSTEM)
    elif not found["ready"]:
        say("No worker is ready for it.")
