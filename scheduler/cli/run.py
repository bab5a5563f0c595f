"""``enlarger run``: the whole system on this machine, for as long as it takes."""

import hashlib
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from scheduler.cli.options import arguments_of, load_settings, order_options

if TYPE_CHECKING:
    from scheduler.settings import Settings


@click.command()
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@order_options
def run(
    sources: tuple[str, ...],
    destination: str,
    endpoint: str,
    assignments: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    *,
    again: bool,
    in_place: bool,
) -> None:
    """Enlarge everything in SOURCE on this machine.

    SOURCE is a folder, an image, an s3:// prefix or a JSONL manifest. PostgreSQL, Redis, a
    scheduler and a worker are started for it and stopped after it. Ctrl-C stops cleanly; the same
    command again goes on where it stopped, or says that nothing is left to do.

    Several images make one batch; several folders or manifests one each, in folders of DEST with
    their names.

    \b
    Examples:
      enlarger run photos/ --to enlarged/
      enlarger run scan.tif --to out/ --set scale=4 --set output_format=webp
      enlarger run s3://photos/2024/ --to s3://photos-large/ --include '*.jpg'
    """
    from scheduler import logs
    from scheduler.cli.follow import conclude, follow
    from scheduler.embedded import system
    from scheduler.ledger.session import Ledger
    from scheduler.storage import address_of, open_storage
    from scheduler.submission import Order, submit

    settings = load_settings()
    logs.configure(settings, level="error")
    orders = [
        Order(
            source=source,
            destination=place,
            endpoint=endpoint,
            arguments=arguments_of(assignments),
            include=include,
            exclude=exclude,
            again=again,
            in_place=in_place,
        )
        for source, place in targets(settings, sources, address_of(destination))
    ]
    try:
        with system.start(settings) as running:
            ledger = Ledger(running, connections=2)
            storage = open_storage(running)
            submitted = [submit(ledger, storage, order) for order in orders]
            found = follow(ledger, [each.id for each in submitted])
            ledger.close()
    except KeyboardInterrupt:
        click.echo("Stopped. The same command again goes on where this one stopped.", err=True)
        raise
    if not any(each.new for each in submitted):
        click.echo("Nothing is left to do; `--again` does it anew.", err=True)
    if not conclude(found):
        sys.exit(1)


def targets(
    settings: "Settings", sources: Sequence[str], destination: str
) -> list[tuple[str, str]]:
    """Return each batch's source and destination, as addresses.

    Images that were named one by one become one batch, by a manifest in ENLARGER_HOME.
    """
    from scheduler.manifests import IMAGE_SUFFIXES
    from scheduler.storage import address_of, parse_address

    addresses = [address_of(source) for source in sources]
    if len(addresses) == 1:
        return [(addresses[0], destination)]
    images = [each for each in addresses if each.lower().endswith(IMAGE_SUFFIXES)]
    rest = [each for each in addresses if each not in images]
    if not rest:
        return [(_manifest(settings, images), destination)]
    batches = [(each, parse_address(each).key.rstrip("/").rpartition("/")[2]) for each in rest]
    if images:
        batches.append((_manifest(settings, images), "images"))
    folder = parse_address(destination).folder()
    return [(source, str(folder.child(name + "/"))) for source, name in batches]


def _manifest(settings: "Settings", images: Sequence[str]) -> str:
    """Write the images down; the same images always make the same manifest."""
    from scheduler.storage import address_of

    rows = "".join(json.dumps({"source": image}) + "\n" for image in images)
    folder = settings.home.expanduser() / "manifests"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(rows.encode()).hexdigest()[:16]}.jsonl"
    path.write_text(rows)
    return address_of(str(path))
