"""What each step of a zoom is made from: the last frame, or the source while that shows more."""

from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image

from models.chain_of_zoom.window import Box, boxes
from models.schema import Size


class Window(NamedTuple):
    """What the next frame shows.

    Attributes:
        box: In pixels of the last frame.
        view: The same part in pixels of the source: left, top, right, bottom.
    """

    box: Box
    view: tuple[float, float, float, float]


def windows(source: Size, frame: Size, centre: tuple[float, float], steps: int) -> Iterator[Window]:
    """Yield the windows of all steps.

    Args:
        source: Of the picture.
        frame: Of every frame; the first shows all of the picture.
        centre: See `boxes`.
        steps: Likewise.
    """
    left, top, width, height = 0.0, 0.0, float(source.width), float(source.height)
    for box in boxes(frame, centre, steps):
        left += box.left / frame.width * width
        top += box.top / frame.height * height
        width *= (box.right - box.left) / frame.width
        height *= (box.bottom - box.top) / frame.height
        # Rounding may have led a hair over the border.
        right, bottom = min(left + width, source.width), min(top + height, source.height)
        yield Window(box, (left, top, right, bottom))


def enlarged(source: Image.Image, frame: Image.Image, window: Window) -> Image.Image:
    """Enlarge what a window shows to a whole frame, by bicubic resampling as upstream.

    Upstream always takes it from the last frame, and so loses what a large source has to show.
    """
    box, (left, _, right, _) = window
    if right - left >= box.right - box.left + 1:
        return source.resize(frame.size, Image.Resampling.BICUBIC, box=window.view)
    return frame.crop(box).resize(frame.size, Image.Resampling.BICUBIC)
