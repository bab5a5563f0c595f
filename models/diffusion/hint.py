"""What a ControlNet for tiles is shown: a picture at the size that is to be made, but not sharp.

The resampling is OpenCV's, which the web UI's users are used to: bicubic with a = -0.75 and no
antialiasing on the way up, area averages on the way down, nearest neighbours for what has too few
colours to be a photograph.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from models.image import Pixels
from models.schema import Size

FEW = 200
"""Pictures with fewer colours are drawings, and stay so."""


def control_hint(pixels: Pixels, size: Size) -> Tensor:
    """Fit a picture over a size, and cut off what hangs over on either side.

    Args:
        pixels: `(h, w, 3)` RGB, uint8.
        size: Of the picture that is to be made.

    Returns:
        `(1, 3, size.height, size.width)` float32 in [0, 1].
    """
    height, width = pixels.shape[:2]
    ratio = max(size.height / height, size.width / width)
    fitted = _resized(pixels, Size(round(width * ratio), round(height * ratio)))
    top = (fitted.shape[2] - size.height) // 2
    left = (fitted.shape[3] - size.width) // 2
    return fitted[:, :, top : top + size.height, left : left + size.width] / 255


def _resized(pixels: Pixels, size: Size) -> Tensor:
    """Return `(1, 3, size.height, size.width)` of whole levels, float32."""
    height, width = pixels.shape[:2]
    tensor = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    if (width, height) == size:
        return tensor
    shape = (size.height, size.width)
    if _has_few_colours(pixels):
        return interpolate(tensor, shape, mode="nearest")
    if size.width * size.height < width * height:
        down, across = (_areas(*ends) for ends in zip((height, width), shape, strict=True))
        resized = torch.einsum("oh,bchw,pw->bcop", down, tensor, across)
    else:
        resized = interpolate(tensor, shape, mode="bicubic", align_corners=False)
    return resized.round().clamp(0, 255)


def _has_few_colours(pixels: Pixels) -> bool:
    """Tell whether a picture is no photograph; a sample of it settles that for most."""
    return all(len(np.unique(_packed(each))) < FEW for each in (pixels[::16, ::16], pixels))


def _packed(pixels: Pixels) -> npt.NDArray[np.int32]:
    wide = pixels.reshape(-1, 3).astype(np.int32)
    return wide[:, 0] << 16 | wide[:, 1] << 8 | wide[:, 2]


def _areas(length: int, wanted: int) -> Tensor:
    """Return `(wanted, length)`: how much of each pixel lies in each of fewer, larger ones."""
    edges = torch.linspace(0, length, wanted + 1, dtype=torch.float64)
    at = torch.arange(length, dtype=torch.float64)
    starts, stops = edges[:-1, None].maximum(at), edges[1:, None].minimum(at + 1)
    return ((stops - starts).clamp(0) * (wanted / length)).float()
