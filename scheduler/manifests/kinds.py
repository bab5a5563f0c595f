"""Which reader a source needs. A new format is a file of its own and a line in `BY_SUFFIX`."""

from collections.abc import Callable, Mapping, Sequence

from scheduler.errors import ObjectMissing, SourceUnreadable
from scheduler.manifests.globs import Globs
from scheduler.manifests.jsonl import JsonLines
from scheduler.manifests.listing import Listing
from scheduler.manifests.rows import IMAGE_SUFFIXES, Source
from scheduler.manifests.single import SingleImage
from scheduler.storage import ObjectInfo, Storage, parse_address

Opener = Callable[[Storage, ObjectInfo], Source]


def _image(_storage: Storage, info: ObjectInfo) -> Source:
    return SingleImage(info)


BY_SUFFIX: Mapping[tuple[str, ...], Opener] = {
    IMAGE_SUFFIXES: _image,
    (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"): JsonLines,
}
"""The reader of a single object, by the end of its name in lower case."""
OTHERWISE: Opener = JsonLines
"""Of an object with any other name; its `check` refuses what is no manifest."""


def open_source(
    storage: Storage,
    source: str,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
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
    info = None if place.is_folder else _object(storage, source)
    if info is None:
        target = None if destination is None else parse_address(destination)
        globs = Globs(include, exclude)
        return Listing(storage, place.folder(), globs, destination=target)
    found = _opener(info.address)(storage, info)
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
    is_marker = info.size == 0 and _opener(source) is OTHERWISE and source.startswith("s3://")
    return None if is_marker else info


def _opener(address: str) -> Opener:
    name = address.lower()
    for suffixes, opener in BY_SUFFIX.items():
        if name.endswith(suffixes):
            return opener
    return OTHERWISE
