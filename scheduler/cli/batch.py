"""Finding the batch that a person means, and showing it."""

from typing import TYPE_CHECKING, Any
from uuid import UUID

import click

from scheduler.cli.options import load_settings

if TYPE_CHECKING:
    from scheduler.ledger.batches import Progress
    from scheduler.ledger.session import Ledger

argument = click.argument("batch")


def open_ledger() -> "Ledger":
    """Connect to the ledger of the settings; the process ends with the command."""
    from scheduler import logs
    from scheduler.ledger.session import Ledger

    settings = load_settings()
    logs.configure(settings, level="warning")
    return Ledger(settings, connections=1)


def id_of(ledger: "Ledger", text: str) -> UUID:
    """Return the id of the batch that a text means: the whole of it, or six or more of its end.

    Raises:
        BatchUnknown: It means none, or more than one.
    """
    from scheduler.ledger import batches

    with ledger.begin() as session:
        return batches.find(session, text)


def as_dict(progress: "Progress") -> dict[str, Any]:
    """Return a batch as JSON has it."""
    found = dict(vars(progress))
    for name, value in found.items():
        if hasattr(value, "isoformat"):
            found[name] = value.isoformat()
    return {**found, "id": str(progress.id), "state": str(progress.state), "ended": progress.ended}
