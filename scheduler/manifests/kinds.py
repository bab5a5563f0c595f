"""Which reader a source needs. A new format is a file of its own and a line in `OPENERS`."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from scheduler.errors import ObjectMissing, SourceUnreadable
from scheduler.manifests.csv_manifest import CsvManifest
from scheduler.manifests.dialect import Dialect
from scheduler.manifests.document import Document
from scheduler.manifests.globs import Globs
from scheduler.manifests.inventory import Inventory
from scheduler.manifests.jsonl import JsonLines
from scheduler.manifests.lines import BYTE_ORDER_MARK
from scheduler.manifests.listing import Listing
from scheduler.manifests.manifest import Manifest
from scheduler.manifests.parquet import ParquetManifest
from scheduler.manifests.plain_list import SCHEMES, PlainList
from scheduler.manifests.rows import IMAGE_SUFFIXES, Source
from scheduler.manifests.sagemaker import SageMakerArray
from scheduler.manifests.single import SingleImage
from scheduler.storage import Address, ObjectInfo, Storage, parse_address


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is known of a manifest before it is opened."""

    document: Document
    dialect: Dialect
    globs: Globs
    destination: Address | None


OPENERS: Mapping[str, Callable[[Asked], Source]] = {
    "jsonl": lambda asked: Manifest(asked.document, JsonLines(asked.document.folder)),
    "csv": lambda asked: Manifest(
        asked.document, CsvManifest(asked.dialect, asked.document.folder)
    ),
    "inventory": lambda asked: Inventory(
        asked.document,
        asked.globs,
        encoding=asked.dialect.encoding,
        destination=asked.destination,
    ),
    "parquet": lambda asked: ParquetManifest(asked.document),
    "sagemaker": lambda asked: Manifest(asked.document, SageMakerArray()),
    "list": lambda asked: Manifest(asked.document, PlainList(asked.dialect, asked.document.folder)),
}
"""The reader of each format that a manifest can have."""
BY_SUFFIX: Mapping[tuple[str, ...], str] = {
    (".jsonl", ".ndjson"): "jsonl",
    (".csv",): "csv",
    (".parquet",): "parquet",
}
"""A manifest's format by the end of its name in lower case, without a compression's."""
COMPRESSED = (".gz", ".bz2", ".zst")
OTHERWISE = "jsonl"
"""What is tried where neither name nor content tells; its `check` refuses what is no manifest."""
IMAGE_ENDS = tuple(suffix.encode() for suffix in IMAGE_SUFFIXES)
INVENTORY = (b'"sourceBucket"', b'"destinationBucket"', b'"fileFormat"')
"""What an inventory's `manifest.json` names in its beginning."""
PARQUET = b"PAR1"
SNIFFED_BYTES = 2**16
BATCH_OPERATIONS = re.compile(rb'"?[a-z0-9][a-z0-9.\-]{1,61}[a-z0-9]"?,[^,\r\n]+')
"""How a first line of ``bucket,key`` begins."""


def open_source(
    storage: Storage,
    source: str,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    dialect: Dialect | None = None,
    destination: str | None = None,
    version: str | None = None,
) -> Source:
    """Find out what `source` is and return its reader.

    An object with this very address is an image or a manifest, by its suffix. Otherwise the
    address is a folder or prefix, with or without its slash at the end.

    Args:
        storage: Where to look.
        source: An ``s3://`` or ``file://`` address.
        include: Patterns of the names that are meant in a folder; empty for all image suffixes.
        exclude: Patterns of the names that are not.
        dialect: What is said about a manifest; None for nothing.
        destination: Where results go, which are never read as sources.
        version: What `Source.version` said when the batch was submitted. A manifest with another
            one is refused; a folder may change.

    Raises:
        SourceUnreadable: There are no such images or manifest, or it is another version by now.
        AddressInvalid: `source` is no address.
        AccessDenied: The credentials may not read it.
        StorageUnavailable: The store does not answer.
    """
    place = parse_address(source)
    globs = Globs(include, exclude)
    target = None if destination is None else parse_address(destination)
    info = None if place.is_folder else _object(storage, source)
    if info is None:
        return Listing(storage, place.folder(), globs, destination=target)
    if dialect is None:
        dialect = Dialect()
    if dialect.format is None and info.address.lower().endswith(IMAGE_SUFFIXES):
        return SingleImage(info)
    document = Document(storage, info)
    kind = dialect.format or _by_name(info.address) or _by_content(document)
    asked = Asked(document=document, dialect=dialect, globs=globs, destination=target)
    found = OPENERS[kind](asked)
    if version is not None and found.version() != version:
        reason = f"source: {source} was changed since its batch was submitted; submit it again"
        raise SourceUnreadable(reason, field="source")
    return found


def _object(storage: Storage, source: str) -> ObjectInfo | None:
    """Return what is stored under this very address.

    An empty object without an image's suffix is what some tools leave as a folder's marker.
    """
    try:
        info = storage.stat(source)
    except ObjectMissing:
        return None
    is_marker = info.size == 0 and source.startswith("s3://") and not _is_named(source)
    return None if is_marker else info


def _is_named(address: str) -> bool:
    """Whether a name alone says what is stored under it."""
    return address.lower().endswith(IMAGE_SUFFIXES) or _by_name(address) is not None


def _by_name(address: str) -> str | None:
    name = address.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return next((kind for ends, kind in BY_SUFFIX.items() if name.endswith(ends)), None)


def _by_content(document: Document) -> str:
    """Return the format that a file's beginning looks like."""
    beginning = document.beginning(SNIFFED_BYTES).removeprefix(BYTE_ORDER_MARK).lstrip()
    if beginning.startswith(b"{") and all(name in beginning for name in INVENTORY):
        return "inventory"
    if beginning.startswith(PARQUET):
        return "parquet"
    if beginning.startswith(b"["):
        return "sagemaker"
    if beginning.startswith(tuple(scheme.encode() for scheme in SCHEMES)):
        return "list"
    if BATCH_OPERATIONS.match(beginning):
        return "csv"
    first_line = beginning.partition(b"\n")[0].rstrip().lower()
    return "list" if first_line.endswith(IMAGE_ENDS) else OTHERWISE
