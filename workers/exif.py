"""EXIF blocks, read entry by entry as raw bytes and written again without what no longer holds.

Values are copied, never interpreted, so that a strange one survives and a hostile one does nothing.
What is kept: the descriptive tags of the main directory, and the Exif, GPS and interoperability
directories. What is dropped: orientation (it has been applied), pixel dimensions, the thumbnail,
and everything that describes how a TIFF file stores its samples.
"""

import struct
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

PREFIX = b"Exif\0\0"
ORIENTATION = 0x0112
IMAGE_HISTORY = 0x9213
MAKER_NOTE = 0x927C

_DETAIL, _GPS, _INTEROP = 0x8769, 0x8825, 0xA005
_ASCII, _LONG = 2, 4
_TYPE_BYTES = {
    1: 1,
    2: 1,
    3: 2,
    4: 4,
    5: 8,
    6: 1,
    7: 1,
    8: 2,
    9: 4,
    10: 8,
    11: 4,
    12: 8,
    13: 4,
    129: 1,
}
_MAX_ENTRIES = 512
_MAX_VALUE_BYTES = 2**20

# Exif 3.0, tables 4 to 6: the main directory's tags that say something about the picture rather
# than about its storage; and Windows' rating, title, comment, author, keywords, subject.
_ABOUT_THE_PICTURE = (0x010D, 0x010E, 0x010F, 0x0110, 0x0131, 0x0132, 0x013B, 0x013C, 0x8298)
_RESOLUTION = (0x011A, 0x011B, 0x0128)
_WINDOWS = (0x4746, 0x4749, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F)
_DESCRIPTIVE = frozenset((*_ABOUT_THE_PICTURE, *_RESOLUTION, *_WINDOWS))
_PIXEL_DIMENSIONS = frozenset((0xA002, 0xA003))


class Entry(NamedTuple):
    """A tag's value as it lies in the file: the number of its type, how many, and their bytes."""

    type: int
    number: int
    value: bytes


Directory: TypeAlias = dict[int, Entry]


@dataclass(frozen=True, kw_only=True)
class Exif:
    """The directories of one block; `order` is the byte order of its values, as `struct` has it."""

    order: Literal["<", ">"]
    main: Directory = field(default_factory=dict)
    detail: Directory = field(default_factory=dict)
    gps: Directory = field(default_factory=dict)
    interop: Directory = field(default_factory=dict)


def parse(block: bytes) -> Exif | None:
    """Read a block, or a whole TIFF file, whose first directory is the main one.

    Entries that point outside of the block are left out.

    Returns:
        What it holds, unfiltered, or None where it is no EXIF at all.
    """
    tiff = block.removeprefix(PREFIX)
    order = _byte_order(tiff)
    if order is None:
        return None
    main = read_directory(tiff, struct.unpack_from(order + "I", tiff, 4)[0], order)[0]
    detail = _linked(tiff, main, _DETAIL, order)
    return Exif(
        order=order,
        main=main,
        detail=detail,
        gps=_linked(tiff, main, _GPS, order),
        interop=_linked(tiff, detail, _INTEROP, order),
    )


def _byte_order(tiff: bytes) -> Literal["<", ">"] | None:
    if len(tiff) < 8:
        return None
    orders: dict[bytes, Literal["<", ">"]] = {b"II*\0": "<", b"MM\0*": ">"}
    return orders.get(tiff[:4])


def _linked(tiff: bytes, directory: Directory, tag: int, order: str) -> Directory:
    """Read the directory that an entry of another points at; empty where there is none."""
    pointer = directory.get(tag)
    if pointer is None or len(pointer.value) != 4:
        return {}
    return read_directory(tiff, struct.unpack(order + "I", pointer.value)[0], order)[0]


def read_directory(tiff: bytes, offset: int, order: str) -> tuple[Directory, int]:
    """Read the directory at `offset`, and where the next one lies (0: nowhere)."""
    if offset < 8 or offset + 2 > len(tiff):
        return {}, 0
    (count,) = struct.unpack_from(order + "H", tiff, offset)
    end = offset + 2 + 12 * count
    directory: Directory = {}
    room = _MAX_VALUE_BYTES
    for start in range(offset + 2, min(end, offset + 2 + 12 * _MAX_ENTRIES), 12):
        if start + 12 > len(tiff):
            break
        tag, type_, number = struct.unpack_from(order + "HHI", tiff, start)
        value = _read_value(tiff, start + 8, _TYPE_BYTES.get(type_, 0) * number, order)
        if value and len(value) <= room:
            directory[tag] = Entry(type_, number, value)
            room -= len(value)
    return directory, struct.unpack_from(order + "I", tiff, end)[0] if end + 4 <= len(tiff) else 0


def _read_value(tiff: bytes, position: int, size: int, order: str) -> bytes:
    """Return a value of `size` bytes; empty where it does not lie within the block."""
    if size > _MAX_VALUE_BYTES:
        return b""
    if size > 4:
        (position,) = struct.unpack_from(order + "I", tiff, position)
    value = tiff[position : position + size]
    return value if len(value) == size else b""


def orientation(exif: Exif) -> int:
    """Return how the picture must be turned, 1 to 8; 1, upright, where nothing valid says so."""
    entry = exif.main.get(ORIENTATION)
    if entry is None or len(entry.value) != 2:
        return 1
    (value,) = struct.unpack(exif.order + "H", entry.value)
    return int(value) if 1 <= value <= 8 else 1


def cleaned(exif: Exif) -> bytes | None:
    """Write the block again with only what still holds; None where nothing is left."""
    kept = replace(
        exif,
        main={tag: entry for tag, entry in exif.main.items() if tag in _DESCRIPTIVE},
        detail={tag: entry for tag, entry in exif.detail.items() if tag not in _PIXEL_DIMENSIONS},
    )
    return serialize(kept) if kept.main or kept.detail or kept.gps else None


def with_history(block: bytes | None, text: str) -> Exif:
    """Return the block, or a new one, with `text` (ASCII) as its ImageHistory."""
    exif = parse(block) if block else None
    exif = exif or Exif(order="<")
    value = text.encode("ascii") + b"\0"
    return replace(exif, main=exif.main | {IMAGE_HISTORY: Entry(_ASCII, len(value), value)})


def history(exif: Exif) -> str | None:
    """Return the ImageHistory, or None."""
    entry = exif.main.get(IMAGE_HISTORY)
    return None if entry is None else entry.value.rstrip(b"\0").decode("ascii", "replace")


def without_maker_note(exif: Exif) -> Exif:
    """Leave out the camera maker's private data, often the largest part of a block."""
    detail = {tag: entry for tag, entry in exif.detail.items() if tag != MAKER_NOTE}
    return replace(exif, detail=detail)


def serialize(exif: Exif) -> bytes:
    """Write a block: main directory first, each directory followed by its values."""
    magic = b"II*\0" if exif.order == "<" else b"MM\0*"
    tiff = bytearray(magic + struct.pack(exif.order + "I", 8))
    _append(tiff, exif, exif.main, ((_DETAIL, exif.detail), (_GPS, exif.gps)))
    return PREFIX + bytes(tiff)


def _append(
    tiff: bytearray, exif: Exif, directory: Directory, children: tuple[tuple[int, Directory], ...]
) -> None:
    """Append a directory, its values, and then the directories that it points at."""
    entries = {
        tag: entry for tag, entry in directory.items() if tag not in (_DETAIL, _GPS, _INTEROP)
    }
    present = [(tag, child) for tag, child in children if child]
    entries |= {tag: Entry(_LONG, 1, bytes(4)) for tag, _ in present}
    start = len(tiff)
    tiff += struct.pack(exif.order + "H", len(entries)) + bytes(12 * len(entries) + 4)
    slots = {}
    for index, (tag, entry) in enumerate(sorted(entries.items())):
        slots[tag] = start + 2 + 12 * index
        _write_entry(tiff, slots[tag], tag, entry, exif.order)
    for tag, child in present:
        struct.pack_into(exif.order + "I", tiff, slots[tag] + 8, len(tiff))
        _append(tiff, exif, child, ((_INTEROP, exif.interop),) if tag == _DETAIL else ())


def _write_entry(tiff: bytearray, slot: int, tag: int, entry: Entry, order: str) -> None:
    """Fill a directory's slot; a value of more than four bytes goes to the end, evenly aligned."""
    struct.pack_into(order + "HHI", tiff, slot, tag, entry.type, entry.number)
    if len(entry.value) <= 4:
        tiff[slot + 8 : slot + 8 + len(entry.value)] = entry.value
        return
    struct.pack_into(order + "I", tiff, slot + 8, len(tiff))
    tiff += entry.value + bytes(len(entry.value) % 2)
