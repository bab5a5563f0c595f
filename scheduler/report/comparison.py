"""The part of a picture that shows best what enlarging did: source, plain resampling and result.

Plain resampling is Pillow's Lanczos, what everybody has without any model: what a result does not
have over it, the model has not gained.
"""

import math
from dataclasses import dataclass
from io import BytesIO
from typing import NamedTuple

from PIL import Image, ImageChops, ImageFilter, ImageOps, ImageStat

from models.schema import Size

CROP = 272
"""Longest side of the cut-out, in pixels of the result."""
OVERVIEW = 144
"""Longest side of the whole picture; shown at half of that, so that it is sharp everywhere."""
LOOKED_AT = 512
"""Longest side of the copy in which the cut-out is chosen."""
STEPS = 5
"""Places tried along each side for the cut-out."""
CANDIDATES = 4
"""Of these places, those with the most detail are looked at closely."""
CENTRED = 0.4
"""How much less detail counts in a corner than in the middle, where most subjects are."""
LOBES = 3
"""Of the Lanczos kernel on either side, in pixels of the smaller picture."""
QUALITY = 88
AVERAGED = ("L", "RGB", "RGBA", "CMYK")
"""Modes whose pixels can be averaged; not palettes and bits."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The same part of a source and of its result, as JPEG files.

    Attributes:
        before: The source's own pixels; to be shown as large as `after`.
        resampled: The source brought to the result's size by Lanczos resampling, one to one.
        after: The result's own pixels, one to one.
        shown: The size of `after`.
        overview: The whole source, small.
        frame: Where in it the part is: left, top, width and height as fractions.
    """

    before: bytes
    resampled: bytes
    after: bytes
    shown: Size
    overview: bytes
    frame: tuple[float, float, float, float]


class View(NamedTuple):
    """A part of the source, cut out before the result is decoded."""

    box: Box
    own: Image.Image
    resampled: Image.Image


def compare(before: Image.Image, after: Image.Image) -> Comparison:
    """Cut the same part out of both: detailed, and as different as can be from plain resampling.

    Args:
        before: The source as it was opened; closed here, so that only one of both is in memory.
        after: The result as it was opened.

    Raises:
        Exception: Whatever Pillow raises for a damaged file.
    """
    before.load()  # TIFF files are turned upright by this alone.
    ImageOps.exif_transpose(before, in_place=True)
    size, result = Size(*before.size), Size(*after.size)
    small = plain(_reduced(before, LOOKED_AT))
    boxes = _detailed(small, size, _part(size, result))
    views = [_view(before, box, result) for box in boxes]
    before.close()
    cuts = [plain(after.crop(_in_result(box, size, result))) for box in boxes]
    view, cut = max(zip(views, cuts, strict=True), key=lambda pair: _gain(*pair))
    return Comparison(
        before=_jpeg(view.own),
        resampled=_jpeg(view.resampled),
        after=_jpeg(cut),
        shown=Size(*cut.size),
        overview=_jpeg(_reduced(small, OVERVIEW)),
        frame=_fractions(view.box, size),
    )


def _view(source: Image.Image, box: Box, result: Size) -> View:
    """Cut a part out of the source, as it is and resampled to the size of the result."""
    size = Size(*source.size)
    target = _in_result(box, size, result)
    scale_x, scale_y = result.width / size.width, result.height / size.height
    left, right = target[0] / scale_x, min(target[2] / scale_x, size.width)
    top, bottom = target[1] / scale_y, min(target[3] / scale_y, size.height)
    reach = math.ceil(LOBES * max(1, 1 / scale_x, 1 / scale_y))
    around = (
        max(0, int(left) - reach),
        max(0, int(top) - reach),
        min(size.width, math.ceil(right) + reach),
        min(size.height, math.ceil(bottom) + reach),
    )
    resampled = plain(source.crop(around)).resize(
        (target[2] - target[0], target[3] - target[1]),
        Image.Resampling.LANCZOS,
        box=(left - around[0], top - around[1], right - around[0], bottom - around[1]),
    )
    return View(box, _reduced(plain(source.crop(box)), CROP), resampled)


def _gain(view: View, cut: Image.Image) -> int:
    """Return how far a result is from plain resampling, in levels of 255.

    Whole ones: where there is nothing but rounding between them, detail decides alone.
    """
    return round(sum(ImageStat.Stat(ImageChops.difference(view.resampled, cut)).rms) / 3)


def _in_result(box: Box, size: Size, result: Size) -> Box:
    """Return where a box of a source of `size` lies in its result."""
    return _scaled(box, result.width / size.width, result.height / size.height)


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


def _detailed(small: Image.Image, size: Size, part: Size) -> list[Box]:
    """Return parts of a picture of `size` where its small copy has many edges, most first."""
    edges = small.convert("L").filter(ImageFilter.FIND_EDGES)
    if min(edges.size) > 2:  # The filter leaves the outermost pixels as they were.
        edges = ImageOps.expand(ImageOps.crop(edges, 1), 1)
    shrink_x, shrink_y = small.width / size.width, small.height / size.height

    def detail(box: Box) -> float:
        seen = edges.crop(_scaled(box, shrink_x, shrink_y))
        return ImageStat.Stat(seen).mean[0] * (1 - CENTRED * _distance(box, size, part))

    return sorted(_places(size, part), key=detail, reverse=True)[:CANDIDATES]


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
