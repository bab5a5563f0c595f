"""Bytes to pictures and back, by the policy of ``docs/images.md``.

No input whatever makes `probe` or `decode` raise anything but errors of `models.errors`; equal
calls give equal results; nothing is shared between threads.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.PngImagePlugin import PngInfo

from models.canvas import check_encodable, check_input
from models.errors import ImageUnreadable, RequestError, ResultImplausible
from models.image import Picture, Pixels, on_white, stack, to_8bit
from models.schema import OutputFormat, Size
from workers import colour, deep
from workers.exif import Exif, cleaned, orientation, parse
from workers.formats import Format, open_image, png_chunks, reading, recognise
from workers.pages import check_tile, count_pages
from workers.provenance import exif_with, itxt, read_provenance
from workers.unpack import read_samples, to_picture

__all__ = ["Header", "decode", "encode", "probe", "read_provenance", "verify"]

_JPEG_EXIF_BYTES = 65_533  # a segment's 16-bit length counts itself
_WEBP_EXIF_BYTES = 2**24
_STRIP_ROWS = 32
_DRAFT = 8  # libjpeg can decode at an eighth of the size
_NOTICEABLE = 8  # levels of 255


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file says of itself before anything is decoded.

    Attributes:
        format: Such as "JPEG"; by content, not by name.
        size: Of the upright picture.
        bits: Of a sample once decoded: 8 or 16.
        frames: Pictures in the file; 2 stands for two or more.
        decoded_bytes: Of the `Picture` that `decode` returns, at most. While decoding, three times
            as much is in use; six times with transparency, or in WebP (measured on 12 MP).
    """

    format: str
    size: Size
    bits: int
    frames: int
    decoded_bytes: int


def probe(data: bytes) -> Header:
    """Read a file's header.

    Raises:
        ImageUnreadable: It is no image that we read, or a damaged one.
    """
    format_ = recognise(data)
    with reading(format_.name):
        image = open_image(data, format_)
        return _header(data, format_, image, _read_exif(data, format_, image))


def _header(data: bytes, format_: Format, image: ImageFile, exif: Exif | None) -> Header:
    check_tile(data, format_, image)
    size = Size(*image.size)
    if _turn(format_, exif) >= 5:
        size = Size(size.height, size.width)
    bits = 16 if deep.is_deep(image) else 8
    channels = 4 if "A" in image.mode.upper() or "transparency" in image.info else 3
    return Header(
        format=format_.name,
        size=size,
        bits=bits,
        frames=count_pages(data, format_, image),
        decoded_bytes=size.width * size.height * channels * bits // 8,
    )


def _read_exif(data: bytes, format_: Format, image: ImageFile) -> Exif | None:
    if format_.name == "TIFF":
        return parse(data)
    if format_.name == "PNG":  # where EXIF may come after the pixels
        block = next((bytes(content) for kind, content in _chunks(data) if kind == b"eXIf"), b"")
    else:
        block = image.info.get("exif", b"")
    return parse(block)


def _chunks(data: bytes) -> list[tuple[bytes, memoryview]]:
    """Read all chunks, so that every checksum has been compared."""
    return list(png_chunks(data))


def _turn(format_: Format, exif: Exif | None) -> int:
    """Return the orientation that is left for us to undo: Pillow does it for TIFF."""
    return 1 if exif is None or format_.name == "TIFF" else orientation(exif)


def decode(data: bytes, *, max_pixels: int) -> Picture:
    """Decode a still picture of any supported format.

    Raises:
        ImageUnreadable: It is no image that we read, damaged, or more than one picture.
        ImageTooLarge: Its header claims more than `max_pixels`; nothing has been decoded then.
    """
    format_ = recognise(data)
    with reading(format_.name):
        image = open_image(data, format_)
        exif = _read_exif(data, format_, image)
        header = _header(data, format_, image, exif)
        check_input(header.size, max_pixels=max_pixels)
        if header.frames > 1:
            message = f"this {header.format} file is animated or has several pages; only single "
            raise ImageUnreadable(message + "pictures are enlarged: extract them first")
        samples, icc = read_samples(data, format_, image)
        image.close()  # frees Pillow's own copy
        block = cleaned(exif) if exif else None
        return to_picture(samples, orientation=_turn(format_, exif), icc=icc, exif=block)


def encode(
    picture: Picture,
    output_format: OutputFormat,
    *,
    quality: int,
    provenance: Mapping[str, str],
) -> bytes:
    """Encode a picture with its profile, its EXIF, and where it came from.

    Args:
        picture: JPEG and WebP take it in 8 bits, JPEG composed on white.
        output_format: Of the result.
        quality: Of JPEG and WebP, 1 to 100; PNG has no loss.
        provenance: Endpoint, arguments, seed, version and the like.

    Raises:
        ImageTooLarge: A side is too long for the format.
        ArgumentInvalid: The provenance does not fit into the format.
    """
    check_encodable(Size(picture.width, picture.height), output_format)
    if output_format is OutputFormat.PNG:
        return _encode_png(picture, provenance)
    if output_format is OutputFormat.JPG:
        return _encode_jpeg(picture, quality, provenance)
    return _encode_webp(picture, quality, provenance)


def _encode_png(picture: Picture, provenance: Mapping[str, str]) -> bytes:
    samples = _samples(picture)
    if samples.dtype == np.uint16:
        return deep.write_png(samples, icc=picture.icc, exif=picture.exif, itxt=itxt(provenance))
    chunks = PngInfo()
    chunks.add(b"iTXt", itxt(provenance))
    out = BytesIO()
    _image(samples).save(
        out,
        "PNG",
        compress_type=_best_strategy(samples),
        pnginfo=chunks,
        icc_profile=picture.icc,
        exif=picture.exif,
    )
    return out.getvalue()


def _best_strategy(samples: Pixels) -> int:
    """Choose zlib's strategy by trying both on three strips.

    Looking for runs only is 7 times as fast on photographs, and smaller; drawings and text become 9
    times as large with it (measured on 6 MP).
    """
    tops = (len(samples) * quarter // 4 for quarter in (1, 2, 3))
    strips = _image(np.concatenate([samples[top : top + _STRIP_ROWS] for top in tops]))
    sizes = {}
    for strategy in (zlib.Z_RLE, zlib.Z_FILTERED):
        out = BytesIO()
        strips.save(out, "PNG", compress_type=strategy)
        sizes[strategy] = out.tell()
    return zlib.Z_RLE if sizes[zlib.Z_RLE] <= 1.1 * sizes[zlib.Z_FILTERED] else zlib.Z_FILTERED


def _encode_jpeg(picture: Picture, quality: int, provenance: Mapping[str, str]) -> bytes:
    flat = to_8bit(replace(picture, pixels=on_white(picture), alpha=None))
    out = BytesIO()
    _image(_samples(flat)).save(
        out,
        "JPEG",
        quality=quality,
        subsampling=0,  # full colour resolution: halving it would undo some of the enlarging
        icc_profile=picture.icc,
        exif=exif_with(picture.exif, provenance, max_bytes=_JPEG_EXIF_BYTES),
    )
    return out.getvalue()


def _encode_webp(picture: Picture, quality: int, provenance: Mapping[str, str]) -> bytes:
    shallow, icc = to_8bit(picture), picture.icc
    if picture.grey and icc:  # WebP has three channels, which a profile for one cannot describe
        grey = Image.fromarray(np.ascontiguousarray(shallow.pixels[..., 0]))
        shallow, icc = replace(shallow, pixels=np.array(colour.grey_to_srgb(grey, icc))), None
    out = BytesIO()
    _image(_samples(replace(shallow, grey=False))).save(
        out,
        "WEBP",
        quality=quality,
        icc_profile=icc,
        exif=exif_with(picture.exif, provenance, max_bytes=_WEBP_EXIF_BYTES),
    )
    return out.getvalue()


def _samples(picture: Picture) -> Pixels:
    """Return `(H, W, C)`: one channel for grey, one more for alpha."""
    colours = picture.pixels[..., :1] if picture.grey else picture.pixels
    return colours if picture.alpha is None else stack(colours, picture.alpha)


def _image(samples: Pixels) -> Image.Image:
    return Image.fromarray(
        np.ascontiguousarray(samples[..., 0] if samples.shape[2] == 1 else samples)
    )


def verify(encoded: bytes, *, size: Size, source: Picture, flagged: bool) -> None:
    """Decode a result again and compare it with what was promised.

    Args:
        encoded: What would be stored.
        size: What the request said the result's size will be.
        source: The picture, or the part of it, that was enlarged.
        flagged: The pipeline blackened the result on purpose, so that it may be constant.

    Raises:
        ResultImplausible: It does not decode, has another size, or is one flat colour though
            `source` is not.
    """
    try:
        constant = _decodes_to_constant(encoded, size)
    except RequestError as exc:
        message = f"the encoded result cannot be decoded again: {exc}"
        raise ResultImplausible(message) from exc
    if constant and not flagged and _varies(source, size):
        message = f"the result of {size.width}x{size.height} is one flat colour, its source is not"
        raise ResultImplausible(message)


def _decodes_to_constant(encoded: bytes, size: Size) -> bool:
    """Decode the whole of it, and tell whether it is one flat colour."""
    format_ = recognise(encoded)
    with reading(format_.name):
        image = open_image(encoded, format_)
        if image.size != size:
            message = f"the result has {image.width}x{image.height} pixels instead of "
            raise ResultImplausible(message + f"{size.width}x{size.height}")
        if format_.name == "PNG":
            _chunks(encoded)
        # A JPEG's stream is read in full either way, but most of the arithmetic is left out.
        image.draft(None, (max(1, size.width // _DRAFT), max(1, size.height // _DRAFT)))
        if not _is_constant(image):
            return False
        return image.size == size or _is_constant(open_image(encoded, format_))


def _is_constant(image: Image.Image) -> bool:
    return _contrast(image) == 0


def _contrast(image: Image.Image) -> float:
    """Return the largest difference between two samples of one channel."""
    extrema = np.array(image.getextrema()).reshape(-1, 2)  # a single channel comes as a bare pair
    return float((extrema[:, 1] - extrema[:, 0]).max())


def _varies(source: Picture, size: Size) -> bool:
    """Tell whether a picture, seen from far enough that single pixels don't count, has contrast."""
    flat = to_8bit(replace(source, pixels=on_white(source), alpha=None))
    small = (min(64, size.width, source.width), min(64, size.height, source.height))
    distant = Image.fromarray(flat.pixels).resize(small, Image.Resampling.BOX)
    return _contrast(distant) > _NOTICEABLE
