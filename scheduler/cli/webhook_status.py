"""``enlarger webhooks status``: how many messages stand where, and how destinations fare."""

from typing import TYPE_CHECKING

import click

from scheduler.cli.options import as_json

if TYPE_CHECKING:
    from scheduler.desk import Post


@click.command()
@as_json
def status(*, as_json: bool) -> None:
    """Show how many messages stand where, and the success rate of each destination.

    \b
    Example:
      enlarger webhooks status --json
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import print_json

    with connected() as system:
        post = system.desk.post()
    if as_json:
        destinations = [{**vars(rate), "success": rate.success} for rate in post.rates]
        print_json({**vars(post.counts), "destinations": destinations})
    else:
        show(post)


def show(post: "Post") -> None:
    """Print the counts and a table of the destinations."""
    from scheduler.cli.output import duration, print_table, say

    counts = post.counts
    parts = [f"{_count(counts.noted + counts.undelivered)} to be sent"]
    if counts.oldest_s is not None:
        parts.append(f"the oldest {duration(counts.oldest_s)} old")
    parts += [
        f"{counts.delivered:,} delivered in 24 h",
        f"{_count(counts.paused)} kept for paused subscriptions",
        f"{_count(counts.dead)} dead",
    ]
    say(f"Webhooks: {', '.join(parts)}.")
    rows = [
        (each.origin, f"{each.success:.1%}", f"{each.delivered:,}", f"{each.failed:,}")
        for each in post.rates
    ]
    if rows:
        print_table(("destination", "success in 24 h", "delivered", "failed tries"), rows)


def _count(number: int) -> str:
    from scheduler.ledger.delivery_records import COUNTED_AT_MOST

    return f"{number:,}" if number < COUNTED_AT_MOST else f"{COUNTED_AT_MOST:,} or more"
