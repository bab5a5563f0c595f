"""``enlarger endpoints``: what can be asked for, and who can do it."""

import json
from typing import Any

import click

from scheduler.cli.options import as_json, load_settings


@click.command()
@click.argument("endpoint", required=False)
@as_json
def endpoints(endpoint: str | None, *, as_json: bool) -> None:
    """List the endpoints, or show the arguments of ENDPOINT.

    With a database in the settings it also says which workers are ready, and why others are not.

    \b
    Examples:
      enlarger endpoints
      enlarger endpoints enlarger/lanczos
    """
    from models import catalog

    chosen = [catalog.find(endpoint)] if endpoint else list(catalog.ENDPOINTS.values())
    fleet = _fleet()
    shown = [_describe(each, fleet) for each in chosen]
    if as_json:
        click.echo(json.dumps(shown if endpoint is None else shown[0]))
    elif endpoint:
        _print_one(shown[0])
    else:
        _print_all(shown)


def _fleet() -> list[dict[str, Any]]:
    """Return the living workers; none where no system is set."""
    from scheduler.ledger import fleet
    from scheduler.ledger.session import Ledger

    settings = load_settings()
    if settings.database_url is None:
        return []
    with Ledger(settings, connections=1).begin() as session:
        return [fleet.describe(worker) for worker in fleet.alive(session)]


def _describe(endpoint: Any, fleet: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: ANN401 - an Endpoint
    return {
        "id": endpoint.id,
        "summary": endpoint.summary,
        "schema": endpoint.request_class().model_json_schema(),
        "ready": [each["name"] for each in fleet if endpoint.id in each["ready"]],
        "not_ready": {
            each["name"]: each["not_ready"][endpoint.id]
            for each in fleet
            if endpoint.id in each["not_ready"]
        },
    }


def _print_all(shown: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("endpoint", "", "ready workers")
    for each in shown:
        table.add_row(each["id"], each["summary"], str(len(each["ready"])))
    Console().print(table)


def _print_one(shown: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    click.echo(f"{shown['id']}: {shown['summary']}")
    table = Table("argument", "default", "allowed", "")
    schema = shown["schema"]
    for name, field in schema["properties"].items():
        default = json.dumps(field["default"]) if "default" in field else "required"
        about = Text(field.get("description", ""))
        table.add_row(name, default, _allowed(field, schema.get("$defs", {})), about)
    Console().print(table)
    for worker in shown["ready"]:
        click.echo(f"ready on {worker}")
    for worker, reason in shown["not_ready"].items():
        click.echo(f"not ready on {worker}: {reason}")


def _allowed(field: dict[str, Any], definitions: dict[str, Any]) -> str:
    """Say what a field takes: its choices, or its type and range."""
    if "$ref" in field:
        field = definitions[field["$ref"].rpartition("/")[2]] | field
    if "enum" in field:
        return " | ".join(map(str, field["enum"]))
    bounds = [
        f"{sign} {field[name]:g}"
        for name, sign in (
            ("exclusiveMinimum", ">"),
            ("minimum", ">="),
            ("exclusiveMaximum", "<"),
            ("maximum", "<="),
        )
        if name in field
    ]
    return " ".join([field.get("type", ""), *bounds]).strip()
