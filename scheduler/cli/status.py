"""``enlarger status``: where batches stand, at a cost that does not grow with them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from scheduler.cli.batch import as_dict, short
from scheduler.cli.options import as_json

if TYPE_CHECKING:
    from scheduler.ledger.batches import Progress


@click.command()
@click.argument("batch", required=False)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000),
              help="How many of the newest batches.")  # fmt: skip
@as_json
def status(batch: str | None, limit: int, *, as_json: bool) -> None:
    """Show where BATCH stands, or the newest batches.

    BATCH is an id, or its last six or more characters.

    \b
    Examples:
      enlarger status
      enlarger status 5c1f09aa --json
    """
    from scheduler.cli.connection import desk
    from scheduler.cli.output import print_json
    from scheduler.cli.webhook_status import show

    with desk() as at:
        found = at.latest(limit=limit) if batch is None else at.progress([at.find(batch)])
        post = at.post() if batch is None and not as_json else None
    if as_json:
        shown = [as_dict(each) for each in found]
        print_json(shown if batch is None else shown[0])
    else:
        _print(found)
    if post is not None and post.any:
        show(post)


def _print(found: Sequence["Progress"]) -> None:
    from scheduler.cli.output import ago, print_table, readable, say

    rows = [
        (
            short(each.id),
            str(each.state),
            f"{each.ended:,}/{each.total:,}{'' if each.read_at else '+'}",
            f"{each.failed:,}",
            f"{each.rejected:,}",
            ago(each.created_at),
            f"{readable(each.source)}\n{readable(each.destination)}",
        )
        for each in found
    ]
    titles = ("batch", "state", "done", "failed", "rejected", "submitted", "from and to")
    if rows:
        print_table(titles, rows)
    else:
        say("There is no batch yet; `enlarger submit --help` shows how to make one.")
    for each in found:
        if each.reason:
            say(f"{short(each.id)}: {each.reason}")
