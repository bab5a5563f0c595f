"""Pictures and the one policy for alpha, bit depth and grey that every endpoint follows.

An upscaler sees three channels of 8 or 16 bits and nothing else. Alpha is enlarged beside it and
put back by `reassemble`, together with what the picture carried: grey, colour profile, EXIF.

Fringes are prevented at the start: `fill_hidden` gives fully transparent pixels the colour of their
visible surroundings, so that no filter and no network can mix an invisible black or white into
an edge. Colours stay unmultiplied throughout: premultiplied ones would show every network a picture
on black, and dividing by a small enlarged alpha would magnify its errors.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.errors import NotFinite, ResultImplausible
from models.schema import Size

if TYPE_CHECKING:
    import torch

Pixels: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
"""Integer samples, 0 to 255 or 0 to 65535, with the channels last."""

Floats: TypeAlias = npt.NDArray[np.float32]

BAND_ROWS = 256
"""Rows handled at once where whole-picture temporaries would be several times the picture."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A decoded image, upright and in RGB.

    Attributes:
        pixels: `(H, W, 3)` RGB, uint8 or uint16.
        alpha: `(H, W)` opacity in the same type, or None where the image has none.
        grey: The source had one channel; all three of `pixels` are equal.
        icc: The embedded colour profile that `pixels` are in, or None for sRGB.
        exif: The source's EXIF block (`Exif\\0\\0` and a TIFF header first) without orientation and
            thumbnail, or None.
    """

    pixels: Pixels
    alpha: Pixels | None = None
    grey: bool = False
    icc: bytes | None = None
    exif: bytes | None = None

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])


def reassemble(picture: Picture, pixels: Pixels) -> Picture:
    """Put what `picture` carried back on its enlarged RGB.

    Alpha is resampled by Lanczos to the size of `pixels` and takes their depth; a grey picture
    becomes grey again; colour profile and EXIF are handed over as they are.

    Args:
        picture: The input that the upscaler saw.
        pixels: `(H, W, 3)` RGB, uint8 or uint16: what the upscaler made of the whole of it.

    Raises:
        ResultImplausible: `pixels` has another shape or type.
    """
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype not in (np.uint8, np.uint16):
        message = f"the model returned {pixels.shape} of {pixels.dtype}, not RGB of 8 or 16 bits"
        raise ResultImplausible(message)
    alpha = picture.alpha
    if alpha is not None:
        size = Size(pixels.shape[1], pixels.shape[0])
        alpha = resample(convert_depth(alpha, pixels.dtype.itemsize * 8), size)
    return replace(picture, pixels=_grey(pixels) if picture.grey else pixels, alpha=alpha)


def resample(channel: Pixels, size: Size) -> Pixels:
    """Resample one `(H, W)` channel by Lanczos in float32, rounded and clipped to its own type."""
    floats = Image.fromarray(channel.astype(np.float32)).resize(size, Image.Resampling.LANCZOS)
    rounded = np.rint(np.asarray(floats))
    return rounded.clip(0, np.iinfo(channel.dtype).max).astype(channel.dtype)


def from_tensor(
    tensor: "torch.Tensor", *, bits: Literal[8, 16] = 8, truncated: bool = False
) -> Pixels:
    """Round a network's output to integer samples.

    Args:
        tensor: `(3, H, W)` RGB, any float type, on any device; clipped to [0, 1].
        bits: The depth of the result.
        truncated: Round down, not to the nearest.

    Returns:
        `(H, W, 3)`, uint8 or uint16.

    Raises:
        NotFinite: A value is NaN or infinite: clipping would hide that the network failed.
    """
    broken = int((~tensor.isfinite()).sum())
    if broken:
        message = (
            f"{broken:,} of {tensor.numel():,} values of the enlarged image are NaN or infinite"
        )
        raise NotFinite(message)
    most = 2**bits - 1
    wide = tensor.float().clamp(0, 1) * most
    samples = (wide if truncated else wide.round()).int().permute(1, 2, 0).cpu().numpy()
    return samples.astype(np.uint8 if bits == 8 else np.uint16, order="C")


def to_8bit(picture: Picture) -> Picture:
    """Return the picture rounded to 8 bits; one that has 8 already is returned as it is."""
    alpha = None if picture.alpha is None else convert_depth(picture.alpha, 8)
    return replace(picture, pixels=convert_depth(picture.pixels, 8), alpha=alpha)


def convert_depth(samples: Pixels, bits: int) -> Pixels:
    """Return samples of any shape in 8 or 16 bits, rounded to nearest, so that full stays full."""
    if samples.dtype.itemsize * 8 == bits:
        return samples
    if bits == 16:
        return samples.astype(np.uint16) * np.uint16(257)
    rounded = (np.arange(2**16, dtype=np.uint32) + 128) // 257
    return rounded.astype(np.uint8)[samples]


def stack(colours: Pixels, alpha: Pixels) -> Pixels:
    """Append `(H, W)` alpha to `(H, W, C)` colours as one more channel."""
    height, width, channels = colours.shape
    stacked = np.empty((height, width, channels + 1), dtype=colours.dtype)
    stacked[..., :channels] = colours
    stacked[..., channels] = alpha
    return stacked


def on_white(picture: Picture) -> Pixels:
    """Compose the picture on white: `(H, W, 3)` in its own depth."""
    if picture.alpha is None:
        return picture.pixels
    white = np.uint32(np.iinfo(picture.pixels.dtype).max)
    composed = np.empty_like(picture.pixels)
    for top in range(0, picture.height, BAND_ROWS):
        rows = slice(top, top + BAND_ROWS)
        # 65535 * 65535 + 32767 is the largest value here, and just fits into 32 bits.
        opacity = picture.alpha[rows, :, None].astype(np.uint32)
        mixed = picture.pixels[rows] * opacity + white * (white - opacity) + white // 2
        composed[rows] = mixed // white
    return composed


def fill_hidden(pixels: Pixels, alpha: Pixels) -> Pixels:
    """Give fully transparent pixels the colour of the nearest visible ones.

    Push-pull: halve the picture again and again, averaging by opacity, until every cell has a
    colour; then hand the colours down to the cells that had none. Visible pixels stay as they are.

    Args:
        pixels: `(H, W, 3)`.
        alpha: `(H, W)` in the same type.

    Returns:
        `pixels` itself where nothing is hidden or nothing is visible, else a changed copy.
    """
    hidden = alpha == 0
    if not hidden.any() or hidden.all():
        return pixels
    filled = pixels.copy()
    colours = _fill_cells(*_halve_bands(pixels, alpha))
    for top in range(0, len(pixels), BAND_ROWS):
        rows, columns = np.nonzero(hidden[top : top + BAND_ROWS])
        rows += top
        filled[rows, columns] = np.rint(colours[rows // 2, columns // 2])
    return filled


def _halve_bands(pixels: Pixels, alpha: Pixels) -> tuple[Floats, Floats]:
    """Halve integer samples band by band; see `_halve`."""
    halves = []
    for top in range(0, len(pixels), BAND_ROWS):
        opacity = alpha[top : top + BAND_ROWS, :, None].astype(np.float32)
        halves.append(_halve(pixels[top : top + BAND_ROWS].astype(np.float32), opacity))
    return np.concatenate([half[0] for half in halves]), np.concatenate(
        [half[1] for half in halves]
    )


def _halve(colours: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Average cells of 2 x 2 `(H, W, 3)` colours by `(H, W, 1)` weights; sides are halved up."""
    weight = _sum_cells(weights)
    colour = _sum_cells(colours * weights)
    colour /= np.maximum(weight, np.float32(1e-30))
    # Weights beyond the first level only say whether a cell has a colour, and must not overflow.
    return colour, np.minimum(weight, np.float32(1))


def _sum_cells(values: Floats) -> Floats:
    """Add up cells of 2 x 2; a last odd row or column stands alone."""
    height, width = values.shape[:2]
    padded = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)))
    return padded[::2, ::2] + padded[1::2, ::2] + padded[::2, 1::2] + padded[1::2, 1::2]


def _fill_cells(colours: Floats, weights: Floats) -> Floats:
    """Return `colours` with every cell of no weight coloured from coarser levels."""
    empty = weights[..., 0] == 0
    if not empty.any():
        return colours
    coarser = _fill_cells(*_halve(colours, weights))
    rows, columns = np.nonzero(empty)
    colours[rows, columns] = coarser[rows // 2, columns // 2]
    return colours


def _grey(pixels: Pixels) -> Pixels:
    """Return `(H, W, 3)` with equal channels: the luma (ITU-R BT.601) where they differ."""
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return pixels
    luma = red * np.float32(0.299) + green * np.float32(0.587) + blue * np.float32(0.114)
    return np.repeat(np.rint(luma).astype(pixels.dtype)[..., None], 3, axis=2)
