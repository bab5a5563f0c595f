"""Weights from an `s3://` prefix: copied to a folder of this host before anything is served.

A file is complete once it bears its own name; what is on its way is a `.part`, which the next start
goes on with. It is replaced when the store's ETag is another than that of the copy.
"""

import fcntl
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import structlog

from models import catalog
from models.catalog import Endpoint
from scheduler.choices import options_of
from scheduler.errors import ObjectMissing, StorageUnavailable
from scheduler.settings import Settings
from scheduler.storage import Storage, parse_address

log = structlog.get_logger()

PIECE_BYTES = 2**20


def local_copy(settings: Settings) -> Path | None:
    """Return the folder where weights lie on this host; None where none are kept."""
    if settings.weights is None:
        return None
    if settings.weights.startswith("s3://"):
        return settings.weights_cache.expanduser()
    return Path(settings.weights).expanduser()


def local_folder(settings: Settings, storage: Storage, wanted: Sequence[str]) -> Path | None:
    """Bring what the wanted endpoints need from the mirror, if there is one.

    Args:
        settings: Where weights lie.
        storage: For `s3://`.
        wanted: Endpoint ids; none stands for the whole catalogue.

    Returns:
        The folder where weights lie on this host; None where none are kept.

    Raises:
        StorageUnavailable: The mirror does not answer.
        AccessDenied: It may not be read.
        SettingsInvalid: What the operator chose about an endpoint is no choice.
    """
    folder = local_copy(settings)
    if folder is None or not str(settings.weights).startswith("s3://"):
        return folder
    prefix = parse_address(str(settings.weights)).folder()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a host has one worker for each device, and one cache
        for names in _parts(wanted, settings.options):
            # Any one of them will do, so the first that is there is the only one.
            any(_bring(storage, str(prefix.child(name)), folder / name) for name in names)
    return folder


def _parts(
    wanted: Sequence[str], chosen: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, ...]]:
    """Yield, for each part that wanted endpoints need, the names of the files that will do."""
    for endpoint in _with_lenders(wanted, chosen):
        manifest, options = endpoint.manifest(), options_of(endpoint, chosen)
        if manifest is not None:
            parts = (part for variant in manifest.variants for part in options.parts(variant))
            yield from dict.fromkeys(
                tuple(f"{manifest.name}/{file.name}" for file in part.files) for part in parts
            )


def _with_lenders(wanted: Sequence[str], chosen: Mapping[str, Mapping[str, Any]]) -> list[Endpoint]:
    """Return the wanted endpoints, and those that they borrow; these borrow nothing themselves."""
    known = catalog.ENDPOINTS.values()
    served = [each for each in known if not wanted or each.id in wanted]
    lent = {name for each in served for name in options_of(each, chosen).borrows()}
    return [each for each in known if each in served or each.id in lent]


def _bring(storage: Storage, address: str, path: Path) -> bool:
    """Copy one object unless it is here already; tell whether there is one.

    Raises:
        StorageUnavailable: Less of it came than there is; what came is gone on with.
    """
    try:
        found = storage.stat(address)
    except ObjectMissing:
        return False
    noted = path.with_name(path.name + ".etag")
    if path.is_file() and noted.is_file() and noted.read_text() == found.etag:
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    # The ETag in the name: half of another version is nothing to go on with.
    version = found.etag.strip('"')
    partial = path.with_name(f"{path.name}.{version}.part")
    start = partial.stat().st_size if partial.is_file() else 0
    log.info("weights.copied", address=address, size_bytes=found.size, from_byte=start)
    with storage.open(address, start=start, etag=found.etag) as source, partial.open("ab") as file:
        while piece := source.read(PIECE_BYTES):
            file.write(piece)
    if partial.stat().st_size != found.size:
        raise StorageUnavailable(f"{address}: {partial.stat().st_size} of {found.size} bytes came")
    partial.replace(path)
    noted.write_text(found.etag)
    return True
