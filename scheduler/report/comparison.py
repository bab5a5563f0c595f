"""The part of a picture that shows best what enlarging did, cut out of source and result."""

import math
from dataclasses import dataclass
from io import BytesIO

from PIL import Image, ImageFilter, ImageOps, ImageStat

from models.schema import Size

CROP = 272
"""Longest side of the cut-out, in pixels of the result."""
OVERVIEW = 144
"""Longest side of the whole picture; shown at half of that, so that it is sharp everywhere."""
LOOKED_AT = 512
"""Longest side of the copy in which the cut-out is chosen."""
STEPS = 5
"""Places tried along each side for the cut-out."""
CENTRED = 0.4
"""How much less detail counts in a corner than in the middle, where most subjects are."""
QUALITY = 88
AVERAGED = ("L", "RGB", "RGBA", "CMYK")
"""Modes whose pixels can be averaged; not palettes and bits."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The same part of a source and of its result, as JPEG files.

    Attributes:
        before: The source's own pixels; to be shown as large as `after`.
        after: The result's own pixels, one to one.
        shown: The size of `after`.
        overview: The whole source, small.
        frame: Where in it the part is: left, top, width and height as fractions.
    """

    before: bytes
    after: bytes
    shown: Size
    overview: bytes
    frame: tuple[float, float, float, float]


def compare(before: Image.Image, after: Image.Image) -> Comparison:
    """Cut the same, detailed part out of both.

    Args:
        before: The source as it was opened; closed here, so that only one of both is in memory.
        after: The result as it was opened.

    Raises:
        Exception: Whatever Pillow raises for a damaged file.
    """
    before.load()  # TIFF files are turned upright by this alone.
    ImageOps.exif_transpose(before, in_place=True)
    size = Size(*before.size)
    small = plain(_reduced(before, LOOKED_AT))
    box = _detailed(small, size, _part(size, after.size))
    own_pixels = _jpeg(_reduced(plain(before.crop(box)), CROP))
    before.close()
    cut = plain(after.crop(_scaled(box, after.width / size.width, after.height / size.height)))
    return Comparison(
        before=own_pixels,
        after=_jpeg(cut),
        shown=Size(*cut.size),
        overview=_jpeg(_reduced(small, OVERVIEW)),
        frame=_fractions(box, size),
    )


def plain(image: Image.Image) -> Image.Image:
    """Return a picture of any mode in RGB; transparency on white, 16 bits as 8."""
    if image.mode.startswith("I"):
        image = image.convert("I").point(lambda level: level * (1 / 257)).convert("L")
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "La", "RGBa"):
        layer = image.convert("RGBA")
        image = Image.new("RGBA", layer.size, "white")
        image.alpha_composite(layer)
    return image.convert("RGB")


def _part(size: Size, result: tuple[int, int]) -> Size:
    """Return how much of a source of `size` becomes a cut-out of the result."""
    return Size(
        min(size.width, max(1, round(CROP * size.width / result[0]))),
        min(size.height, max(1, round(CROP * size.height / result[1]))),
    )


def _scaled(box: Box, scale_x: float, scale_y: float) -> Box:
    left, top = round(box[0] * scale_x), round(box[1] * scale_y)
    right, bottom = round(box[2] * scale_x), round(box[3] * scale_y)
    return left, top, max(left + 1, right), max(top + 1, bottom)


def _reduced(image: Image.Image, longest: int) -> Image.Image:
    """Return a picture with no side longer than `longest`."""
    if max(image.size) <= longest:
        return image
    factor = longest / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    # The quick way down to about twice the size needs no second copy of a large picture.
    averaged = image if image.mode in AVERAGED else plain(image)
    return averaged.reduce(max(1, int(1 / factor / 2))).resize(size, Image.Resampling.LANCZOS)


def _detailed(small: Image.Image, size: Size, part: Size) -> Box:
    """Return a part of a picture of `size` where its small copy has many edges."""
    edges = small.convert("L").filter(ImageFilter.FIND_EDGES)
    if min(edges.size) > 2:  # The filter leaves the outermost pixels as they were.
        edges = ImageOps.expand(ImageOps.crop(edges, 1), 1)
    shrink_x, shrink_y = small.width / size.width, small.height / size.height

    def detail(box: Box) -> float:
        seen = edges.crop(_scaled(box, shrink_x, shrink_y))
        return ImageStat.Stat(seen).mean[0] * (1 - CENTRED * _distance(box, size, part))

    return max(_places(size, part), key=detail)


def _distance(box: Box, size: Size, part: Size) -> float:
    """Return how far from the middle a part is, from 0 to 1 in a corner."""
    spare_x, spare_y = size.width - part.width, size.height - part.height
    x = abs(2 * box[0] / spare_x - 1) if spare_x else 0.0
    y = abs(2 * box[1] / spare_y - 1) if spare_y else 0.0
    return math.hypot(x, y) / math.sqrt(2)


def _places(size: Size, part: Size) -> list[Box]:
    """Return where the part may be, the middle first: it wins a draw."""
    spare_x, spare_y = size.width - part.width, size.height - part.height
    steps = sorted(range(STEPS), key=lambda step: abs(step - STEPS // 2))
    return [
        (x, y, x + part.width, y + part.height)
        for x in (spare_x * step // (STEPS - 1) for step in steps)
        for y in (spare_y * step // (STEPS - 1) for step in steps)
    ]


def _fractions(box: Box, size: Size) -> tuple[float, float, float, float]:
    width, height = size
    return (
        box[0] / width,
        box[1] / height,
        (box[2] - box[0]) / width,
        (box[3] - box[1]) / height,
    )


def _jpeg(image: Image.Image) -> bytes:
    """Encode with colour at full resolution, without which a few pixels' colour would smear."""
    out = BytesIO()
    # Not `optimize`: its buffer is too small for a picture of nothing but noise.
    image.save(out, "JPEG", quality=QUALITY, subsampling=0, exif=b"")
    return out.getvalue()
