"""How many pictures a file holds: animations, and TIFF files of several pages."""

import struct

from PIL.ImageFile import ImageFile

from models.errors import ImageUnreadable
from workers.exif import Directory, read_directory
from workers.formats import Format

_NEW_SUBFILE_TYPE = 254
_LESSER = 1 | 4  # a reduced-resolution copy, or a transparency mask (TIFF 6.0, section 8)
_MAX_PAGES = 32
_TILE = (322, 323)
_TILE_PIXELS = 2**22
_SIDE_TYPES = frozenset((3, 4, 16))  # 16, 32 and 64 bits without a sign


def count_pages(data: bytes, format_: Format, image: ImageFile) -> int:
    """Return 1 for a still picture, 2 for two or more.

    Not counted are a TIFF's thumbnails and masks, and the further pictures that some cameras hide
    after a JPEG's end.
    """
    if format_.name == "TIFF" and data[2:4] in (b"*\0", b"\0*"):
        return min(2, max(1, _count_full_pages(data, "<" if data[:2] == b"II" else ">")))
    return 2 if getattr(image, "is_animated", False) else 1


def check_tile(data: bytes, format_: Format, image: ImageFile) -> None:
    """Refuse a TIFF whose single tile would take far more memory than the picture.

    Raises:
        ImageUnreadable: Decoding would have to hold all of the tile.
    """
    if format_.name != "TIFF":
        return
    entries = _tile_entries(data)
    if len({tag for tag, _ in entries}) != len(entries) or not _SIDE_TYPES.issuperset(
        type_ for _, type_ in entries
    ):
        # Pillow and the decoder behind it would each believe another size.
        message = "its tile size is stated twice, or in a form that is none; save it without tiles"
        raise ImageUnreadable(message)
    tags = getattr(image, "tag_v2", {})
    width, height = (tags.get(tag) for tag in _TILE)
    if not (isinstance(width, int) and isinstance(height, int)):
        return
    if width * height > max(_TILE_PIXELS, 2 * image.width * image.height):
        message = f"a tile of {width}x{height} is far larger than the picture of "
        raise ImageUnreadable(message + f"{image.width}x{image.height}; save it without tiles")


def _tile_entries(tiff: bytes) -> list[tuple[int, int]]:
    """Return tag and type of every entry of the first directory that gives a tile's side."""
    order, big = "<" if tiff[:2] == b"II" else ">", b"+" in tiff[2:4]
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), tiff, 8 if big else 4)
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), tiff, offset)
    first, size = offset + (8 if big else 2), 20 if big else 12
    last = min(first + count * size, len(tiff) - size + 1)
    heads = (struct.unpack_from(order + "HH", tiff, start) for start in range(first, last, size))
    return [(tag, type_) for tag, type_ in heads if tag in _TILE]


def _count_full_pages(tiff: bytes, order: str) -> int:
    """Count a TIFF's pages that are pictures of their own; stops at two."""
    (offset,) = struct.unpack_from(order + "I", tiff, 4)
    full = 0
    for _ in range(_MAX_PAGES):
        directory, offset = read_directory(tiff, offset, order)
        full += bool(directory) and not _is_lesser(directory, order)
        if offset == 0 or full == 2:
            return full
    return 2


def _is_lesser(directory: Directory, order: str) -> bool:
    entry = directory.get(_NEW_SUBFILE_TYPE)
    if entry is None or len(entry.value) != 4:
        return False
    return bool(struct.unpack(order + "I", entry.value)[0] & _LESSER)
