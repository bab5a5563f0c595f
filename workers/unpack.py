"""Turns an opened image of whatever mode into samples, and those into a picture."""

from typing import cast

import numpy as np
from PIL.ImageFile import ImageFile

from models.errors import ImageUnreadable
from models.image import Picture, Pixels, fill_hidden, stack
from workers import colour, deep
from workers.formats import Format

_TARGETS = {
    "1": "L",
    "L": "L",
    "LA": "LA",
    "La": "LA",
    "PA": "RGBA",
    "RGB": "RGB",
    "RGBX": "RGB",
    "RGBA": "RGBA",
    "RGBa": "RGBA",
    "YCbCr": "RGB",
    "HSV": "RGB",
}
"""Pillow's mode -> the mode whose samples we take. `La` and `RGBa` come premultiplied."""


def read_samples(data: bytes, format_: Format, image: ImageFile) -> tuple[Pixels, bytes | None]:
    """Decode to `(H, W, C)`: C = 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and alpha.

    Returns:
        uint8 or uint16 samples, and the colour profile that they are in, None for sRGB.

    Raises:
        ImageUnreadable: Samples for which nobody has said what white is.
    """
    if deep.is_deep(image):
        samples = deep.read_deep(data, format_)
        profile = _bytes(image.info.get("icc_profile"))
        key = image.info.get("transparency")
    else:
        samples, profile, key = _read_shallow(data, format_, image)
    if key is not None and samples.shape[2] in (1, 3):
        samples = stack(samples, _opaque_unless(samples, key))
    return samples, colour.kept_profile(profile, grey=samples.shape[2] <= 2)


def _read_shallow(
    data: bytes, format_: Format, image: ImageFile
) -> tuple[Pixels, bytes | None, object]:
    """Return 8-bit samples, their profile, and the colour that stands for transparent, if any."""
    if image.mode in ("I", "F"):
        message = "samples of 32 bits, signed or floating-point have no agreed white; "
        raise ImageUnreadable(message + "convert the picture to 16 bits")
    image.load()
    profile = _bytes(image.info.get("icc_profile"))
    key = image.info.get("transparency")
    if image.mode == "CMYK":
        return np.array(colour.cmyk_to_srgb(image, profile)), None, None
    if image.mode == "LAB":
        return np.array(colour.lab_to_srgb(image)), None, None
    if image.mode == "P":
        return np.array(image.convert("RGB" if key is None else "RGBA")), profile, None
    if format_.name == "PNG" and image.mode == "L" and isinstance(key, int):
        key = key * 255 // (2 ** data[24] - 1)  # stated in the file's depth, which IHDR has at 24
    target = _TARGETS[image.mode]
    samples = np.array(image if image.mode == target else image.convert(target))
    return samples[..., None] if samples.ndim == 2 else samples, profile, key


def _opaque_unless(samples: Pixels, key: object) -> Pixels:
    """Return `(H, W)` alpha: nothing where every channel equals `key`, full elsewhere."""
    transparent = (samples == np.array(key)).all(axis=-1)
    alpha = np.zeros(transparent.shape, dtype=samples.dtype)
    alpha[~transparent] = np.iinfo(samples.dtype).max
    return alpha


def _bytes(value: object) -> bytes | None:
    """Return a profile as TIFF and the others give it; None for what is none."""
    return value if isinstance(value, bytes) else None


def to_picture(
    samples: Pixels, *, orientation: int, icc: bytes | None, exif: bytes | None
) -> Picture:
    """Turn samples upright and split off alpha.

    Alpha that is full everywhere says nothing and is dropped; hidden colours are replaced.
    """
    upright = _upright(samples, orientation)
    channels = upright.shape[2]
    alpha: Pixels | None = upright[..., -1].copy() if channels in (2, 4) else None
    if alpha is not None and alpha.min() == np.iinfo(alpha.dtype).max:
        alpha = None
    grey = channels <= 2
    pixels = np.repeat(upright[..., :1], 3, axis=2) if grey else upright[..., :3]
    pixels = cast(Pixels, np.ascontiguousarray(pixels))  # the stubs lose a union's types
    if alpha is not None:
        pixels = fill_hidden(pixels, alpha)
    return Picture(pixels=pixels, alpha=alpha, grey=grey, icc=icc, exif=exif)


def _upright(samples: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation (Exif 3.0, tag 0x0112): mirror, then turn."""
    if orientation in (2, 4, 5, 7):
        samples = samples[:, ::-1]
    quarters = {3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}.get(orientation, 0)
    return np.rot90(samples, quarters)
