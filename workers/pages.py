"""How many pictures a file holds: animations, and TIFF files of several pages."""

import struct

from PIL.ImageFile import ImageFile

from workers.exif import Directory, read_directory
from workers.formats import Format

_NEW_SUBFILE_TYPE = 254
_LESSER = 1 | 4  # a reduced-resolution copy, or a transparency mask (TIFF 6.0, section 8)
_MAX_PAGES = 32


def count_pages(data: bytes, format_: Format, image: ImageFile) -> int:
    """Return 1 for a still picture, 2 for two or more.

    Not counted are a TIFF's thumbnails and masks, and the further pictures that some cameras hide
    after a JPEG's end.
    """
    if format_.name == "TIFF" and data[2:4] in (b"*\0", b"\0*"):
        return min(2, max(1, _count_full_pages(data, "<" if data[:2] == b"II" else ">")))
    return 2 if getattr(image, "is_animated", False) else 1


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
