"""``enlarger pause``, ``resume`` and ``prioritize``: steer a batch that is on its way."""

from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

import click

from scheduler.cli import batch as batches_

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@click.command()
@batches_.argument
def pause(batch: str) -> None:
    """Let nothing more of BATCH start until `enlarger resume`.

    What runs is finished; what no worker has begun waits again. Its source is read no further.

    \b
    Example:
      enlarger pause 5c1f09aa
    """
    from scheduler.ledger import steering

    changed = _change(batch, steering.pause)
    _say("Paused." if changed else "It is paused already, or nothing of it is left to start.")


@click.command()
@batches_.argument
def resume(batch: str) -> None:
    """Let BATCH, which was paused, go on where it stood.

    \b
    Example:
      enlarger resume 5c1f09aa
    """
    from scheduler.ledger import steering

    changed = _change(batch, steering.resume)
    _say("Resumed." if changed else "It is not paused; `enlarger status` shows where it stands.")


@click.command(context_settings={"ignore_unknown_options": True})  # for a negative N
@batches_.argument
@click.argument("priority", metavar="N", type=click.IntRange(-100, 100))
def prioritize(batch: str, priority: int) -> None:
    """Give BATCH the priority N, from -100 to 100; a higher one is served first.

    \b
    Example:
      enlarger prioritize 5c1f09aa 10
    """
    from scheduler.ledger import steering

    changed = _change(batch, lambda session, id_: steering.prioritize(session, id_, priority))
    _say(f"Its priority is {priority}." if changed else "It has ended: nothing is left to serve.")


def _change(batch: str, change: "Callable[[Session, UUID], bool]") -> bool:
    from scheduler.cli.connection import connected

    with connected() as system:
        id_ = batches_.id_of(system, batch)
        with system.ledger.begin() as session:
            return change(session, id_)


def _say(message: str) -> None:
    from scheduler.cli.output import say

    say(message)
