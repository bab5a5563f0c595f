"""Images to test with, drawn rather than stored, and TIFF files that Pillow cannot write."""

import struct
import zlib
from functools import cache
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms

from models.image import Picture, Pixels


def make_pixels(width: int, height: int, *, bits: int = 8, seed: int = 0) -> Pixels:
    """Return `(H, W, 3)` of a smooth picture with some noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((2 + height // 16, 2 + width // 16, 3))
    rows = np.linspace(0, coarse.shape[0] - 1.001, height)
    columns = np.linspace(0, coarse.shape[1] - 1.001, width)
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None, None], (columns - left)[None, :, None]
    upper = coarse[top][:, left] * (1 - right) + coarse[top][:, left + 1] * right
    lower = coarse[top + 1][:, left] * (1 - right) + coarse[top + 1][:, left + 1] * right
    smooth = upper * (1 - down) + lower * down + rng.normal(0, 0.01, (height, width, 3))
    most = 2**bits - 1
    return (smooth.clip(0, 1) * most).round().astype(np.uint8 if bits == 8 else np.uint16)


def make_picture(width: int = 37, height: int = 23, *, bits: int = 8, **overrides) -> Picture:
    """Return a picture; name only the attributes that the test is about."""
    return Picture(**{"pixels": make_pixels(width, height, bits=bits)} | overrides)


def make_grey(width: int = 37, height: int = 23, *, bits: int = 8, **overrides) -> Picture:
    """Return a grey picture."""
    luma = make_pixels(width, height, bits=bits)[..., :1]
    return Picture(pixels=np.repeat(luma, 3, axis=2), grey=True, **overrides)


def make_alpha(width: int, height: int, *, bits: int = 8) -> Pixels:
    """Return `(H, W)`: opacity that rises from nothing at the left to full at the right."""
    most = 2**bits - 1
    ramp = np.linspace(0, most, width).round().astype(np.uint8 if bits == 8 else np.uint16)
    return np.repeat(ramp[None], height, axis=0)


def save(pixels: Pixels | Image.Image, file_format: str, **options) -> bytes:
    """Encode by Pillow."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    out = BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


@cache
def srgb_profile() -> bytes:
    """Return a valid profile of an RGB space, always the same: a new one says when it was made."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def make_tiff(
    samples: np.ndarray,
    *,
    order: str = "<",
    photometric: int = 2,
    extra: int | None = None,
    deflate: bool = False,
    predictor: bool = False,
    planar: bool = False,
    sample_format: int = 1,
) -> bytes:
    """Write `(H, W, C)` samples of any type as a TIFF file of one strip.

    Args:
        samples: Stored as they are.
        order: `<` or `>`.
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 5 CMYK, 8 L*a*b*.
        extra: What the last channel is: 0 unspecified, 1 premultiplied alpha, 2 alpha.
        deflate: Compress, which makes Pillow read it by libtiff.
        predictor: Store differences between neighbours.
        planar: Store one colour after the other.
        sample_format: 1 unsigned, 2 signed, 3 floating-point.
    """
    height, width, channels = samples.shape
    stored = samples.astype(samples.dtype.newbyteorder(order), order="C")
    if predictor:
        stored[:, 1:] = samples[:, 1:] - samples[:, :-1]
    planes = [stored[..., c] for c in range(channels)] if planar else [stored]
    strips = [zlib.compress(plane.tobytes()) if deflate else plane.tobytes() for plane in planes]
    offsets = [8 + sum(len(strip) for strip in strips[:index]) for index in range(len(strips))]
    entries = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [samples.dtype.itemsize * 8] * channels),
        259: (3, [8 if deflate else 1]),
        262: (3, [photometric]),
        273: (4, offsets),
        277: (3, [channels]),
        278: (4, [height]),
        279: (4, [len(strip) for strip in strips]),
        284: (3, [2 if planar else 1]),
        317: (3, [2 if predictor else 1]),
        339: (3, [sample_format] * channels),
    }
    if extra is not None:
        entries[338] = (3, [extra])
    return _tiff_file(order, b"".join(strips), entries)


def _tiff_file(order: str, strips: bytes, entries: dict[int, tuple[int, list[int]]]) -> bytes:
    strips += bytes(len(strips) % 2)
    start = 8 + len(strips)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    table = struct.pack(order + "H", len(entries))
    values = b""
    values_start = start + 2 + 12 * len(entries) + 4
    for tag, (kind, numbers) in sorted(entries.items()):
        value = struct.pack(f"{order}{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        if len(value) > 4:
            pointer = struct.pack(order + "I", values_start + len(values))
            values += value + bytes(len(value) % 2)
            value = pointer
        table += struct.pack(order + "HHI", tag, kind, len(numbers)) + value.ljust(4, b"\0")
    return magic + struct.pack(order + "I", start) + strips + table + bytes(4) + values
