"""``enlarger webhooks deliveries`` and ``replay``: what became of messages, and once more."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scheduler.cli.options import as_json

if TYPE_CHECKING:
    from scheduler.cli.connection import System
    from scheduler.ledger.delivery_records import Choice, Record

Command = TypeVar("Command", bound=Callable[..., Any])


def _event(_context: click.Context, _parameter: click.Parameter, given: str | None) -> int | None:
    """Read an event's id as consumers see it, `evt_12`, or its number."""
    if given is None:
        return None
    found = re.fullmatch(r"(?:evt_)?(\d{1,18})", given.strip())
    if found is None:
        reason = f"{given!r}: write the id of a message, such as evt_12"
        raise click.BadParameter(reason)
    return int(found[1])


def _moment(
    _context: click.Context, _parameter: click.Parameter, given: str | None
) -> datetime | None:
    """Read a time; one without a zone is this machine's."""
    if given is None:
        return None
    try:
        return datetime.fromisoformat(given).astimezone()
    except ValueError as exc:
        reason = f"{given!r}: write a time such as 2026-11-24T12:00 or 2026-11-24T12:00+00:00"
        raise click.BadParameter(reason) from exc


def choice_options(command: Command) -> Command:
    """Add what says which messages are meant."""
    for option in reversed(_CHOICE):
        command = option(command)
    return command


_CHOICE = (
    click.argument("event", required=False, callback=_event),
    click.option("--batch", help="Only of this batch and its jobs."),
    click.option("--subscription", help="Only to this subscription."),
    click.option("--since", metavar="TIME", callback=_moment, help="What happened from then on."),
    click.option("--until", metavar="TIME", callback=_moment, help="What happened before then."),
)


@click.command()
@choice_options
@click.option("--dead", is_flag=True, help="Only those that were given up.")
@click.option("--undelivered", is_flag=True, help="Only those that are still to be sent.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000))
@as_json
def deliveries(*, dead: bool, undelivered: bool, limit: int, as_json: bool, **which: Any) -> None:  # noqa: ANN401 - the options of a choice
    """List messages and what became of them, those of the newest batches first.

    EVENT is the id of a message as its consumers see it.

    \b
    Examples:
      enlarger webhooks deliveries --dead
      enlarger webhooks deliveries evt_1204 --json
    """
    from scheduler.cli.connection import connected
    from scheduler.cli.output import print_json, print_table, say
    from scheduler.ledger import delivery_records
    from scheduler.ledger.webhook_tables import DeliveryState as State

    states = (
        *([State.DEAD] if dead else []),
        *([State.DUE, State.SENDING] if undelivered else []),
    )
    with connected() as system:
        choice = _choice(system, states or tuple(State), **which)
        with system.ledger.begin() as session:
            found = delivery_records.listed(session, choice, limit=limit)
    if as_json:
        for each in found:
            print_json({**vars(each), "id": f"evt_{each.event_id}"})
    elif found:
        print_table(
            ("message", "event", "to", "state", "tries failed", "last answer", "next try"),
            [_row(each) for each in found],
        )
    else:
        say("There are none.")


def _row(found: "Record") -> tuple[str, ...]:
    from scheduler.cli.output import moment

    due = found.due_at if found.state in ("due", "sending") else None
    waits = "when resumed" if found.state == "due" and due is None else ""
    return (
        f"evt_{found.event_id}",
        f"{found.type}\n{moment(found.happened_at)}",
        f"{found.url or 'removed'}\n{found.subscription_id.hex[-8:]}",
        str(found.state),
        str(found.failures),
        f"{found.status or ''} {(found.answer or '')[:80]}".strip(),
        moment(due) if due is not None else waits,
    )


@click.command()
@choice_options
@click.option("--all", "every", is_flag=True, help="Also those that were delivered.")
def replay(*, every: bool, **which: Any) -> None:  # noqa: ANN401 - the options of a choice
    """Send messages once more, under the same ids and with the same bytes; print how many.

    Those that are dead; with --all, and where EVENT names one, also those that were delivered.

    \b
    Examples:
      enlarger webhooks replay evt_1204
      enlarger webhooks replay --batch 5c1f09aa
      enlarger webhooks replay --since 2026-11-24T08:00 --until 2026-11-24T12:00 --all
    """
    from scheduler.cli.connection import connected
    from scheduler.ledger import delivery_records
    from scheduler.ledger.webhook_tables import DeliveryState as State

    if not any(value is not None for value in which.values()):
        reason = "say which: EVENT, --batch, --subscription, --since or --until"
        raise click.UsageError(reason)
    states = (State.DEAD, State.DELIVERED) if every or which["event"] else (State.DEAD,)
    with connected() as system:
        choice = _choice(system, states, **which)
        with system.ledger.begin() as session:
            click.echo(delivery_records.replay(session, choice))


def _choice(
    system: "System",
    states: tuple[Any, ...],
    *,
    event: int | None,
    batch: str | None,
    subscription: str | None,
    since: datetime | None,
    until: datetime | None,
) -> "Choice":
    from scheduler.ledger import batches, subscriptions
    from scheduler.ledger.delivery_records import Choice

    with system.ledger.begin() as session:
        return Choice(
            event_id=event,
            batch_id=None if batch is None else batches.find(session, batch),
            subscription_id=subscriptions.find(session, subscription).id if subscription else None,
            since=since,
            until=until,
            states=states,
        )
