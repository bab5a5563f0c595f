"""Where a result goes: below the destination, named like its source.

The name is the source's path relative to where the batch's sources begin:

1. below a root of the source (the folder or prefix that was submitted, or the folder that holds a
   local manifest): the rest of the path after the longest such root;
2. else, for ``s3://``, the whole key without its bucket. Two buckets with the same key then meet in
   one name, which is caught like every destination that two rows share;
3. else, for ``file://`` and ``http(s)://``, the file's own name.

Its suffix is replaced by that of the output format: ``a/photo.tar.jpg`` becomes
``a/photo.tar.png``. A suffix is a dot and up to five letters and digits, at least one of them a
letter; anything else (``v1.2``, ``.hidden``) is part of the name, and the new suffix is appended.

On ``s3://`` names are literal. On ``file://`` none may leave the destination's folder.
"""

import os
import re
from dataclasses import dataclass
from functools import cached_property

from scheduler.errors import AddressInvalid, RowInvalid
from scheduler.storage import Address, parse_address
from scheduler.storage.address import KEY_BYTES

RESULTS = "results.jsonl"
FAILED = "failed.jsonl"
SHEET = "report.html"
TABLE = "results.parquet"
"""What the batch's own report is called, in the destination's folder."""
REPORTS = (RESULTS, FAILED, SHEET, TABLE)

SUFFIX = re.compile(r"(?<=[^/])\.(?=[0-9]*[A-Za-z])[A-Za-z0-9]{1,5}\Z")


@dataclass(frozen=True, kw_only=True)
class Naming:
    """How one batch names its results.

    Attributes:
        destination: The address of the folder or prefix for results; a slash is added if missing.
        roots: Addresses of the folders that relative names begin at.
        in_place: A result may take its source's own place.
    """

    destination: str
    roots: tuple[str, ...] = ()
    in_place: bool = False

    def result(self, source: str, *, suffix: str, explicit: str | None = None) -> str:
        """Return the address of a source's result.

        Args:
            source: The source's address.
            suffix: The output format's suffix, without a dot; not used for an explicit name.
            explicit: What the row says: an absolute address, or a path below the destination. It
                is taken as it stands.

        Raises:
            RowInvalid: The name is impossible, leaves the folder, or is that of the source.
        """
        if explicit is None and (plain := self._plain(source, suffix)) is not None:
            return plain
        origin = parse_address(source)
        try:
            place = self._named(explicit) if explicit else self._derived(origin, suffix)
        except AddressInvalid as exc:
            reason = f"destination: {exc}; give the row another destination"
            raise RowInvalid(reason, field="destination") from exc
        if place.relative_to(self._folder) in REPORTS:
            reason = f"destination: {place} is where the batch's report goes; choose another name"
            raise RowInvalid(reason, field="destination")
        if not self.in_place and _is_same(place, origin):
            reason = (
                f"destination: the result would replace its source {source}; choose another "
                "destination, or say --in-place"
            )
            raise RowInvalid(reason, field="destination")
        return str(place)

    def _plain(self, source: str, suffix: str) -> str | None:
        """Name the result of an S3 object on S3 from the texts alone, which are literal there.

        Returns:
            None where more has to be looked at: what is too long, or in anybody's way.
        """
        if not (self._folder.scheme == "s3" and source.startswith("s3://") and source.isascii()):
            return None
        roots = [root for root in self._root_texts if source.startswith(root)]
        begin = len(max(roots, key=len)) if roots else source.find("/", len("s3://")) + 1
        name = with_suffix(source[begin:], suffix)
        place = self._folder_text + name
        in_order = len(place) <= KEY_BYTES and place != source and name not in REPORTS
        return place if in_order else None

    def _derived(self, origin: Address, suffix: str) -> Address:
        relative = self.relative(origin)
        if self._folder.scheme == "file":
            relative = relative.lstrip("/")
        return _below(self._folder, with_suffix(relative, suffix))

    def _named(self, explicit: str) -> Address:
        if "://" not in explicit:
            return _below(self._folder, explicit)
        place = parse_address(explicit)
        if place.is_folder or place.is_web:
            what = "is a web address" if place.is_web else "names a folder"
            reason = f"{explicit} {what}; a result needs a name in s3:// or file://"
            raise AddressInvalid(reason)
        if place.scheme == "file" and place.relative_to(self._folder) is None:
            reason = f"{explicit} lies outside of the destination {self._folder}"
            raise AddressInvalid(reason)
        return place

    def relative(self, origin: Address) -> str:
        """Return a source's path relative to where the batch's sources begin."""
        inside = [rest for root in self._roots if (rest := origin.relative_to(root)) is not None]
        if inside:
            return min(inside, key=len)
        return origin.key if origin.scheme == "s3" else origin.name

    @cached_property
    def _folder(self) -> Address:
        return parse_address(self.destination).folder()

    @cached_property
    def _folder_text(self) -> str:
        return str(self._folder)

    @cached_property
    def _root_texts(self) -> tuple[str, ...]:
        return tuple(str(root) for root in self._roots)

    @cached_property
    def _roots(self) -> tuple[Address, ...]:
        return tuple(parse_address(root).folder() for root in self.roots)


def with_suffix(name: str, suffix: str) -> str:
    """Return a name or address with its suffix, if it has one, replaced by `suffix`."""
    return f"{SUFFIX.sub('', name)}.{suffix}"


def numbered(address: str, index: int, *, suffix: str) -> str:
    """Return where the object `index` (from 0) of several results goes.

    ``out/photo.png`` stands for ``out/photo/00.png``, ``out/photo/01.png`` and so on.
    """
    return f"{SUFFIX.sub('', address)}/{index:02}.{suffix}"


def beside(address: str, name: str, *, suffix: str) -> str:
    """Return where a further object of a result goes: ``out/photo/NAME.jpg``."""
    return f"{SUFFIX.sub('', address)}/{name}.{suffix}"


def _below(folder: Address, relative: str) -> Address:
    """Return what a relative name means in a folder.

    Raises:
        AddressInvalid: It names a folder, or on ``file://`` something outside of this one.
    """
    place = folder.child(relative)
    if place.is_folder or place.relative_to(folder) is None:
        reason = f"{relative!r} names no object below {folder}"
        raise AddressInvalid(reason)
    return place


def _is_same(one: Address, other: Address) -> bool:
    """Whether two addresses name one object, also where a folder is reached through a link.

    Links at the file itself are not followed here: this runs once a row and mostly without
    touching the disk. The store compares the files themselves (`Storage.is_same_object`).
    """
    if one == other:
        return True
    if not one.scheme == other.scheme == "file" or one.name != other.name:
        return False
    return os.path.realpath(one.parent().key) == os.path.realpath(other.parent().key)
