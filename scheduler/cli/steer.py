"""``enlarger pause``, ``resume`` and ``prioritize``: steer a batch that is on its way."""

import click

from scheduler.cli import batch as batches_


@click.command()
@batches_.argument
def pause(batch: str) -> None:
    """Let nothing more of BATCH start until `enlarger resume`.

    What runs is finished; what no worker has begun waits again. Its source is read no further.

    \b
    Example:
      enlarger pause 5c1f09aa
    """
    from scheduler.cli.connection import desk

    with desk() as at:
        changed = at.pause(at.find(batch))
    _say("Paused." if changed else "It is paused already, or nothing of it is left to start.")


@click.command()
@batches_.argument
def resume(batch: str) -> None:
    """Let BATCH, which was paused, go on where it stood.

    \b
    Example:
      enlarger resume 5c1f09aa
    """
    from scheduler.cli.connection import desk

    with desk() as at:
        changed = at.resume(at.find(batch))
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
    from scheduler.cli.connection import desk

    with desk() as at:
        changed = at.prioritize(at.find(batch), priority)
    _say(f"Its priority is {priority}." if changed else "It has ended: nothing is left to serve.")


def _say(message: str) -> None:
    from scheduler.cli.output import say

    say(message)
