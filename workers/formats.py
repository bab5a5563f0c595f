"""What a file is, judged by its content alone, and the Pillow plugin that may open it.

Only the formats listed here are ever tried, so that Pillow's rarer decoders never see a hostile
file, and no error but those of `models.errors` leaves `reading`.
"""

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)
from PIL.ImageFile import ImageFile

from models.errors import ImageTooLarge, ImageUnreadable

# Pillow's own limit is one number for the whole process, and holds even where our results are read
# back. Each header is compared with the caller's limit instead, by `check_input`.
Image.MAX_IMAGE_PIXELS = None

DAMAGE: Final = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders have been seen to raise, or can, on bytes that are not what they claim."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A file format that is read.

    Attributes:
        name: As people write it.
        plugin: Pillow's class; called directly, since `Image.open` would also try relatives (MPO).
        matches: Whether a file's first 64 bytes are this format's.
    """

    name: str
    plugin: Callable[[BytesIO], ImageFile]
    matches: Callable[[bytes], bool]


def _is_avif(head: bytes) -> bool:
    """Accept the AVIF brands, or a generic brand that lists AVIF among its compatible ones."""
    brands = head[8 : max(16, min(64, int.from_bytes(head[:4], "big")))]
    return head[4:8] == b"ftyp" and (b"avif" in brands or b"avis" in brands)


FORMATS: Final = (
    Format(
        name="JPEG",
        plugin=JpegImagePlugin.JpegImageFile,
        matches=lambda head: head.startswith(b"\xff\xd8\xff"),
    ),
    Format(
        name="PNG",
        plugin=PngImagePlugin.PngImageFile,
        matches=lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    ),
    Format(
        name="WebP",
        plugin=WebPImagePlugin.WebPImageFile,
        matches=lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    ),
    Format(
        name="TIFF",
        plugin=TiffImagePlugin.TiffImageFile,
        matches=lambda head: head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    ),
    Format(name="AVIF", plugin=AvifImagePlugin.AvifImageFile, matches=_is_avif),
    Format(
        name="GIF",
        plugin=GifImagePlugin.GifImageFile,
        matches=lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    ),
    Format(
        name="BMP",
        plugin=BmpImagePlugin.BmpImageFile,
        matches=lambda head: head.startswith(b"BM"),
    ),
)

STRANGERS: Final = (
    (b"<!doctype html", "an HTML page, perhaps an error or a login page"),
    (b"<html", "an HTML page, perhaps an error or a login page"),
    (b"<svg", "an SVG drawing, which has no pixels to enlarge; render it first"),
    (b"<?xml", "an XML document, perhaps the error message of an object store"),
    (b"<error", "an XML document, perhaps the error message of an object store"),
    (b"{", "a JSON document, perhaps the error message of a service"),
    (b"[", "a JSON document"),
    (b"%pdf", "a PDF document"),
    (b"8bps", "a Photoshop file; export it as TIFF or PNG"),
    (b"pk\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "gzip-compressed data"),
    (b"\xff\x0a", "a JPEG XL image, which is not read; convert it to PNG"),
    (b"\0\0\0\x0cjxl ", "a JPEG XL image, which is not read; convert it to PNG"),
    (b"\0\0\0\x0cjp  ", "a JPEG 2000 image, which is not read; convert it to PNG"),
    (b"version https://git-lfs", "a Git LFS pointer instead of the file that it stands for"),
)
"""How files that are no image of ours begin, in lower case, and what to say of them."""

HEIF_BRANDS: Final = (b"heic", b"heix", b"hevc", b"heim", b"mif1", b"msf1")


def recognise(data: bytes) -> Format:
    """Return the format that the first bytes are in, whatever the file is called.

    Raises:
        ImageUnreadable: It is none that we read; the message says what it looks like.
    """
    head = data[:64]
    for format_ in FORMATS:
        if format_.matches(head):
            return format_
    raise ImageUnreadable(_describe(data))


def _describe(data: bytes) -> str:
    """Say what bytes that are no image look like."""
    if not data:
        return "the file is empty (0 bytes)"
    names = ", ".join(format_.name for format_ in FORMATS)
    start = data[:512].removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for prefix, description in STRANGERS:
        if start.startswith(prefix):
            return f"this is no image but looks like {description} ({names} are read)"
    if data[4:8] == b"ftyp" and data[8:12] in HEIF_BRANDS:
        return f"this looks like a HEIC photo; convert it to JPEG ({names} are read)"
    return f"this is no image that we know: it begins with {data[:8].hex(' ')} ({names} are read)"


def open_image(data: bytes, format_: Format) -> ImageFile:
    """Read the header only; call it, and whatever is done with the image, inside `reading`."""
    return format_.plugin(BytesIO(data))


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises about a file of format `name` into an error of the request.

    Raises:
        ImageUnreadable: The file is damaged, or in a variant that Pillow does not know.
        ImageTooLarge: Decoding ran out of memory.
    """
    try:
        yield
    except MemoryError as exc:
        message = f"there is not enough memory to decode this {name} file; make the picture smaller"
        raise ImageTooLarge(message) from exc
    except DAMAGE as exc:
        reason = " ".join(str(exc).split())[:200] or type(exc).__name__
        message = f"the {name} file is damaged or of an unknown variant: {reason}"
        raise ImageUnreadable(message) from exc


def png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield type and content of every chunk up to IEND, having compared its checksum.

    Raises:
        ValueError: A chunk is cut off, or its checksum differs.
    """
    view = memoryview(data)
    position = 8
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            break
        kind = data[position + 4 : position + 8]
        if zlib.crc32(view[position + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            message = (
                f"the checksum of chunk {kind.decode('latin-1')!r} at byte {position} is wrong"
            )
            raise ValueError(message)
        yield kind, view[position + 8 : end]
        if kind == b"IEND":
            return
        position = end + 4
    message = f"the file ends at byte {len(data)} without an IEND chunk"
    raise ValueError(message)
