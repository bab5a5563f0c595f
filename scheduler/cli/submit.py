"""``enlarger submit``: hand a batch to a running system."""

import click

from scheduler.cli.options import arguments_of, load_settings, order_options


@click.command()
@click.argument("source")
@order_options
@click.option("--priority", default=0, show_default=True, type=click.IntRange(-100, 100),
              help="Batches with a higher one are served first.")  # fmt: skip
@click.option("--idempotency-key", metavar="KEY",
              help="The same key is the same batch, even if the source has changed.")  # fmt: skip
@click.option("--only-if-absent", is_flag=True, help="Never replace an object that is there.")
def submit(
    source: str,
    destination: str,
    endpoint: str,
    assignments: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    priority: int,
    idempotency_key: str | None,
    *,
    again: bool,
    in_place: bool,
    only_if_absent: bool,
) -> None:
    """Queue SOURCE on a running system and print the batch's id.

    SOURCE is an s3:// prefix, image or JSONL manifest (or a folder or file that every scheduler
    and worker sees under the same path). What can be wrong is checked first: the endpoint, its
    arguments, the source, and that the destination can be written. The same submission again is
    the same batch.

    \b
    Examples:
      enlarger submit s3://photos/in/ --to s3://photos/out/ --set scale=4
      enlarger submit s3://photos/rows.jsonl --to s3://photos/out/ --priority 5
      enlarger watch $(enlarger submit s3://photos/in/ --to s3://photos/out/)
    """
    from scheduler.ledger.session import Ledger
    from scheduler.storage import address_of, open_storage
    from scheduler.submission import Order
    from scheduler.submission import submit as submit_order

    settings = load_settings()
    order = Order(
        source=address_of(source),
        destination=address_of(destination),
        endpoint=endpoint,
        arguments=arguments_of(assignments),
        include=include,
        exclude=exclude,
        priority=priority,
        idempotency_key=idempotency_key,
        again=again,
        in_place=in_place,
        only_if_absent=only_if_absent,
    )
    submitted = submit_order(Ledger(settings, connections=1), open_storage(settings), order)
    if not submitted.new:
        click.echo("This was submitted before; `--again` does it anew.", err=True)
    click.echo(str(submitted.id))
