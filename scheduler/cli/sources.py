"""Which batches several sources make, and where the results of each go."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from scheduler.manifests import IMAGE_SUFFIXES
from scheduler.storage import address_of, parse_address

IMAGES = "images"
"""The folder for single images that were named beside folders or manifests."""


def targets(home: Path, sources: Sequence[str], destination: str) -> list[tuple[str, str]]:
    """Return each batch's source and destination, as addresses.

    Images that were named one by one become one batch, by a manifest that is kept in `home`.

    Args:
        home: ENLARGER_HOME.
        sources: What was typed: paths or addresses.
        destination: The address for all of it.
    """
    addresses = list(dict.fromkeys(address_of(source) for source in sources))
    if len(addresses) == 1:
        return [(addresses[0], destination)]
    images = [each for each in addresses if each.lower().endswith(IMAGE_SUFFIXES)]
    rest = [each for each in addresses if each not in images]
    if not rest:
        return [(_manifest(home, images), destination)]
    if images:
        rest.append(_manifest(home, images))
    folder = parse_address(destination).folder()
    return [
        (source, str(folder.child(name + "/")))
        for source, name in zip(rest, _names(rest, with_images=bool(images)), strict=True)
    ]


def _names(sources: Sequence[str], *, with_images: bool) -> Iterator[str]:
    """Yield a folder's name for each source, like its own; no two are the same."""
    taken: set[str] = set()
    for number, source in enumerate(sources):
        is_images = with_images and number == len(sources) - 1
        plain = IMAGES if is_images else parse_address(source).key.rstrip("/").rpartition("/")[2]
        name, count = plain or parse_address(source).bucket, 1
        while name in taken:
            count += 1
            name = f"{plain}-{count}"
        taken.add(name)
        yield name


def _manifest(home: Path, images: Sequence[str]) -> str:
    """Write the images down; the same images always make the same manifest."""
    rows = "".join(json.dumps({"source": image}) + "\n" for image in images)
    folder = home.expanduser() / "manifests"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(rows.encode()).hexdigest()[:16]}.jsonl"
    path.write_text(rows, "utf-8")
    return address_of(str(path))
