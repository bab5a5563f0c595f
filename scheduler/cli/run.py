"""``enlarger run``: the whole system on this machine, for as long as it takes."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from scheduler.cli.batch import all_well
from scheduler.cli.options import as_json, dialect_of, order_options, wish_of

if TYPE_CHECKING:
    from scheduler.cli.connection import System
    from scheduler.cli.options import Wish
    from scheduler.ledger.batches import Progress
    from scheduler.settings import Settings
    from scheduler.submission import Order

WORKER_S = 60.0
"""How long a worker may take to say what it can serve."""


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@order_options
@as_json
def run(
    sources: tuple[str, ...],
    destination: str,
    endpoint: str,
    arguments: dict[str, Any],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    manifest_format: str | None,
    fields: tuple[str, ...],
    encoding: str | None,
    max_rejected: int | None,
    webhook: str | None,
    estimate: int | None,
    price_per_hour: float | None,
    *,
    comments: bool,
    again: bool,
    in_place: bool,
    skip_existing: bool,
    no_reuse: bool,
    as_json: bool,
) -> None:
    """Enlarge everything in SOURCE on this machine.

    SOURCE is a folder, an image, an s3:// prefix or a manifest (JSON lines, CSV, a list...).
    PostgreSQL, Redis, a scheduler and a worker are started for it and stopped after it. Ctrl-C
    stops cleanly; the same command again goes on where it stopped, or says that nothing is left
    to do.

    Several images make one batch; several folders or manifests one each, in folders of DEST with
    their names. The exit status is 1 if some image failed.

    \b
    Examples:
      enlarger run photos/ --to enlarged/
      enlarger run scan.tif --to out/ --set scale=4 --set output_format=webp
      enlarger run s3://photos/2024/ --to s3://photos-large/ --include '*.jpg'
      enlarger run photos/ --to enlarged/ --estimate 30
    """
    from scheduler import settings
    from scheduler.cli.embedding import embed
    from scheduler.cli.sources import targets
    from scheduler.storage import address_of
    from scheduler.submission import Order

    dialect = dialect_of(manifest_format, fields, encoding, comments=comments)
    loaded = settings.load()
    orders = [
        Order(
            source=source,
            destination=place,
            endpoint=endpoint,
            arguments=arguments,
            include=include,
            exclude=exclude,
            dialect=dialect,
            max_rejected=max_rejected,
            webhook=webhook,
            again=again,
            in_place=in_place,
            skip_existing=skip_existing,
            reuse=not no_reuse,
        )
        for source, place in targets(loaded.home, sources, address_of(destination))
    ]
    _check(loaded, orders)
    wish = wish_of(estimate, price_per_hour)
    if wish is not None:
        embed(lambda system: _tell(system, orders, wish, as_json=as_json))
    elif not embed(lambda system: _enlarge(system, orders, as_json=as_json)):
        sys.exit(1)


def _tell(system: "System", orders: Sequence["Order"], wish: "Wish", *, as_json: bool) -> bool:
    from scheduler.cli.estimate import tell

    _wait_for_worker(system)  # so that it is known who will do the work
    for order in orders:
        tell(system, order, wish, as_json=as_json)
    return True


def _check(settings: "Settings", orders: Sequence["Order"]) -> None:
    """Refuse what can't work, before a system is started for nothing."""
    from scheduler import arguments
    from scheduler.guard import parse_url
    from scheduler.storage import open_storage
    from scheduler.submission import source_of

    storage = open_storage(settings)
    for order in orders:
        if order.webhook is not None:
            parse_url(order.webhook)
        arguments.checked(order.endpoint, order.arguments)
        source_of(storage, order).check()


def _enlarge(system: "System", orders: Sequence["Order"], *, as_json: bool) -> bool:
    """Submit, follow and conclude; return whether all is well."""
    from models import catalog
    from scheduler.cli.follow import conclude, follow, see_off
    from scheduler.cli.output import say

    if any(catalog.find(order.endpoint).manifest() for order in orders):
        _wait_for_worker(system)  # which says whether the weights are here
    desk = system.desk
    submitted = [desk.submit(order) for order in orders]
    ids = [each.id for each in submitted]
    before = desk.progress(ids)
    for each, was in zip(submitted, before, strict=True):
        if not each.new and was.ended_at is None:
            say(f"Going on where it stopped: {was.ended:,} of {was.total:,} are done.")
    found = follow(desk, ids)
    see_off(system, ids)
    if all(was.reported_at is not None for was in before):
        say(nothing_begun(found))
    return conclude(desk, found, as_json=as_json)


def nothing_begun(found: Sequence["Progress"]) -> str:
    """Say why a command that was given before had nothing to do."""
    if all(all_well(each) for each in found):
        return "Nothing is left to do; `--again` does it anew."
    return "This has ended before, without a result for each image; `--again` does it all anew."


def _wait_for_worker(system: "System") -> None:
    """Return when a worker has said what it can serve, or when none comes."""
    from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

    from scheduler.ledger import fleet

    def is_there() -> bool:
        with system.ledger.begin(durable=False) as session:
            return bool(fleet.alive(session))

    Retrying(
        stop=stop_after_delay(WORKER_S),
        wait=wait_fixed(0.1),
        retry=retry_if_result(lambda there: not there),
        retry_error_callback=lambda _: None,
    )(is_there)
