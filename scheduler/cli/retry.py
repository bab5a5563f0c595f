"""``enlarger retry``: another chance for what did not succeed."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import click

from scheduler.cli import batch as batches_

if TYPE_CHECKING:
    from scheduler.cli.connection import System
    from scheduler.desk import Desk
    from scheduler.ledger.tables import JobState


@click.command()
@batches_.argument
@click.option("--failed", "only_failed", is_flag=True, help="Only what failed, not the cancelled.")
def retry(batch: str, *, only_failed: bool) -> None:
    """Run again what failed or was cancelled in BATCH, and print how many images that is.

    Rejected rows stay rejected: mend the manifest and submit it. A batch that was cancelled while
    its source was read is read on. Without ENLARGER_DATABASE_URL this is about a batch of
    `enlarger run`: the system is started, and the batch followed to its end.

    \b
    Example:
      enlarger retry 5c1f09aa --failed
    """
    from scheduler import settings
    from scheduler.cli.connection import check_embedded, desk, remote_desk
    from scheduler.ledger.tables import JobState

    states = [JobState.FAILED] if only_failed else [JobState.FAILED, JobState.CANCELLED]
    loaded = settings.load()
    if loaded.database_url is not None or remote_desk() is not None:
        with desk() as at:
            _retry(at, batch, states)
        return
    from scheduler.cli.embedding import embed

    check_embedded(loaded)
    if not embed(lambda system: _retry_and_follow(system, batch, states)):
        sys.exit(1)


def _retry(desk: "Desk", batch: str, states: Sequence["JobState"]) -> UUID:
    id_ = desk.find(batch)
    click.echo(desk.retry(id_, states))
    return id_


def _retry_and_follow(system: "System", batch: str, states: Sequence["JobState"]) -> bool:
    from scheduler.cli.follow import conclude, follow, see_off

    id_ = _retry(system.desk, batch, states)
    found = follow(system.desk, [id_])
    see_off(system, [id_])
    return conclude(system.desk, found, as_json=False)
