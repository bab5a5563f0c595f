"""Colour spaces: which embedded profiles are kept, and how the rest becomes sRGB."""

from io import BytesIO

from PIL import Image, ImageCms

from models.errors import ImageUnreadable

MAX_PROFILE_BYTES = 2**20 - 1
"""Longer profiles are refused: PNG readers, Pillow among them, read no more than a mebibyte."""

_SPACE = slice(16, 20)
_SIGNATURE = slice(36, 40)


def kept_profile(profile: bytes | None, *, grey: bool) -> bytes | None:
    """Return the profile if it describes such pixels, else None, which stands for sRGB.

    Raises:
        ImageUnreadable: It does, but is too long to be written back.
    """
    if not profile or not _describes(profile, b"GRAY" if grey else b"RGB "):
        return None
    if len(profile) > MAX_PROFILE_BYTES:
        message = (
            f"the colour profile has {len(profile):,} bytes, at most {MAX_PROFILE_BYTES:,} can "
        )
        raise ImageUnreadable(message + "be kept; convert the picture to sRGB")
    return profile


def cmyk_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert by the embedded profile; by Pillow's plain formula where there is no valid one."""
    if profile and _describes(profile, b"CMYK"):
        try:
            return _convert(image, ImageCms.ImageCmsProfile(BytesIO(profile)))
        except (ImageCms.PyCMSError, OSError):
            # A broken profile says nothing about the colours: the same as having none.
            return image.convert("RGB")
    return image.convert("RGB")


def lab_to_srgb(image: Image.Image) -> Image.Image:
    """Convert CIE L*a*b* under D50, as TIFF stores it."""
    return _convert(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))


def grey_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert grey by its profile, for formats without grey; as it is if the profile is broken."""
    try:
        return _convert(image, ImageCms.ImageCmsProfile(BytesIO(profile)))
    except (ImageCms.PyCMSError, OSError):
        return image.convert("RGB")


def _describes(profile: bytes, space: bytes) -> bool:
    return profile[_SIGNATURE] == b"acsp" and profile[_SPACE] == space


def _convert(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    converted = ImageCms.profileToProfile(
        image,
        source,
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        outputMode="RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    assert converted is not None  # it is None only when converting in place
    return converted
