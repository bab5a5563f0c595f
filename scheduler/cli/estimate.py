"""``--estimate``: run a sample of a source's rows, and say what all of them will take."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from scheduler.cli.output import duration, print_json, print_table, readable, say

if TYPE_CHECKING:
    from scheduler.cli.connection import System
    from scheduler.cli.options import Wish
    from scheduler.estimate.figures import Estimate, Range
    from scheduler.estimate.sample import Sample
    from scheduler.estimate.trial import Trial
    from scheduler.submission import Order

HOUR_S = 3600.0
METHOD = (
    "Nine times in ten the truth lies between `from` and `to` (bootstrap over the sample; for "
    "failures, Wilson's interval). Not counted are rows that are skipped or reused."
)


def tell(system: "System", order: "Order", wish: "Wish", *, as_json: bool) -> None:
    """Run a sample of an order's rows and print what the order will take."""
    found = _estimate(system, order, wish.count)
    price = wish.price_per_hour
    cost = None if price is None else found.worker_s.times(price / HOUR_S)
    if as_json:
        print_json({"source": order.source, **asdict(found), "cost": cost and asdict(cost)})
    else:
        show(found, cost)


def _estimate(system: "System", order: "Order", count: int) -> "Estimate":
    from scheduler.errors import SourceUnreadable
    from scheduler.estimate import sample
    from scheduler.estimate.trial import Trial, scratch
    from scheduler.submission import check_destination, source_of

    source = source_of(system.storage, order)
    source.check()
    check_destination(system.storage, source, order)
    say(f"Reading {readable(order.source)} …")
    drawn = sample.draw(source.rows(None), count)
    if not drawn.rows:
        reason = f"source: {order.source} has no row that names an image"
        raise SourceUnreadable(reason, field="source")
    place = scratch(order.destination)
    trial = Trial(ledger=system.ledger, order=order, source=source, place=place)
    try:
        return _tried(system, trial, drawn)
    finally:
        _clear(system, place)


def _tried(system: "System", trial: "Trial", drawn: "Sample") -> "Estimate":
    """Run a few rows, so that workers load the model, and then all of the sample."""
    from functools import partial

    from scheduler.cli.follow import follow
    from scheduler.estimate.figures import Fleet, estimate

    following = partial(follow, system.desk)
    warm = trial.run(drawn.rows[: trial.workers()], following)
    ran = trial.run(drawn.rows, following)
    fleet = Fleet(
        workers=trial.workers(),
        fetch_threads=system.settings.fetch_threads,
        store_threads=system.settings.store_threads,
    )
    return estimate(
        ran,
        rows=drawn.total,
        rejected=drawn.rejected,
        fleet=fleet,
        warm={row.worker for row in warm if row.worker is not None},
    )


def _clear(system: "System", place: str) -> None:
    """Delete what the sample made; say so where that was refused."""
    from models.errors import EnlargerError

    try:
        system.storage.delete_below(place)
    except EnlargerError as exc:
        say(f"{readable(place)} could not be deleted ({exc}); it is of no use, so please delete it")


def show(found: "Estimate", cost: "Range | None") -> None:
    """Print an estimate for people."""
    who = "1 worker that has" if found.workers == 1 else f"{found.workers} workers that have"
    say(
        f"{found.sampled:,} of {found.rows:,} images were run, {found.rejected:,} rows would be "
        f"rejected. With {who} nothing else to do:"
    )
    rows: list[Sequence[str]] = [
        ("time", *_three(found.duration_s, duration)),
        ("worker hours", *_three(found.worker_s.times(1 / HOUR_S), _figure)),
        ("bytes", *_three(found.bytes_out, _size)),
        ("failures", *_three(found.failures, _whole)),
    ]
    if cost is not None:
        rows.append(("cost", *_three(cost, _figure)))
    print_table(("", "likely", "from", "to"), rows)
    say(METHOD)


def _three(found: "Range", shown: Any) -> tuple[str, str, str]:  # noqa: ANN401 - a function
    return shown(found.likely), shown(found.low), shown(found.high)


def _figure(number: float) -> str:
    return f"{number:,.2f}" if number < 100 else f"{number:,.0f}"


def _whole(number: float) -> str:
    return f"{round(number):,}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.1f} TB"
