"""``enlarger submit``: hand a batch to a running system."""

from typing import Any

import click

from scheduler.cli.options import as_json, dialect_of, order_options, wish_of


@click.command()
@click.argument("source")
@order_options
@click.option("--priority", default=0, show_default=True, type=click.IntRange(-100, 100),
              help="Batches with a higher one are served first.")  # fmt: skip
@click.option("--idempotency-key", metavar="KEY",
              help="The same key is the same batch, even if the source has changed.")  # fmt: skip
@click.option("--only-if-absent", is_flag=True, help="Never replace an object that is there.")
@as_json
def submit(
    source: str,
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
    priority: int,
    idempotency_key: str | None,
    *,
    comments: bool,
    again: bool,
    in_place: bool,
    skip_existing: bool,
    no_reuse: bool,
    only_if_absent: bool,
    as_json: bool,
) -> None:
    """Queue SOURCE on a running system and print the batch's id.

    SOURCE is an s3:// prefix, image or manifest (or a folder or file that every scheduler
    and worker sees under the same path). What can be wrong is checked first: the endpoint, its
    arguments, the source, and that the destination can be written. The same submission again is
    the same batch.

    \b
    Examples:
      enlarger submit s3://photos/in/ --to s3://photos/out/ --set scale=4
      enlarger submit s3://photos/rows.jsonl --to s3://photos/out/ --priority 5
      enlarger watch $(enlarger submit s3://photos/in/ --to s3://photos/out/)
      enlarger submit s3://photos/in/ --to s3://photos/out/ --estimate 100 --price-per-hour 2.5
    """
    from scheduler.cli.connection import connected, desk
    from scheduler.cli.estimate import tell
    from scheduler.cli.output import print_json, say
    from scheduler.storage import address_of
    from scheduler.submission import Order

    order = Order(
        source=address_of(source),
        destination=address_of(destination),
        endpoint=endpoint,
        arguments=arguments,
        include=include,
        exclude=exclude,
        dialect=dialect_of(manifest_format, fields, encoding, comments=comments),
        max_rejected=max_rejected,
        webhook=webhook,
        priority=priority,
        idempotency_key=idempotency_key,
        again=again,
        in_place=in_place,
        skip_existing=skip_existing,
        reuse=not no_reuse,
        only_if_absent=only_if_absent,
    )
    wish = wish_of(estimate, price_per_hour)
    if wish is not None:
        with connected(running=True) as system:
            tell(system, order, wish, as_json=as_json)
        return
    with desk(running=True) as at:
        submitted = at.submit(order)
    if not submitted.new:
        say("This was submitted before; `--again` does it anew.")
    if as_json:
        print_json({"batch": str(submitted.id), "new": submitted.new})
    else:
        click.echo(str(submitted.id))
