"""How close an enlarged picture is to the true one, measured as the literature does."""

import numpy as np
import torch
from PIL import Image

from models.compact.network import CompactNetwork
from models.compact.training.pairs import reduce, through_jpeg, to_tensor
from models.compact.training.pictures import Rgb


def luma(picture: Rgb) -> np.ndarray:
    """Return `(H, W)` studio-range luma (ITU-R BT.601, 16 to 235), as MATLAB's rgb2ycbcr has it."""
    return 16 + picture.astype(np.float64) @ np.array([65.481, 128.553, 24.966]) / 255


def psnr(one: Rgb, other: Rgb, *, border: int) -> float:
    """Return the peak signal-to-noise ratio of the lumas, in decibels, without the border."""
    inner = slice(border, -border)
    error = np.mean((luma(one)[inner, inner] - luma(other)[inner, inner]) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-10)))


def reduced(large: Rgb, scale: int, *, jpeg_quality: int | None) -> tuple[Rgb, Rgb]:
    """Return the small picture, and the true one cut to a multiple of `scale`."""
    height, width = (side - side % scale for side in large.shape[:2])
    true = large[:height, :width]
    small = reduce(Image.fromarray(true), scale)
    if jpeg_quality is not None:
        small = through_jpeg(small, jpeg_quality)
    return np.asarray(small), true


@torch.inference_mode()
def enlarged(network: CompactNetwork, small: Rgb) -> Rgb:
    """Enlarge a picture as the endpoint does: with its border repeated around it."""
    edge = network.radius
    padded = np.pad(small, ((edge, edge), (edge, edge), (0, 0)), mode="edge")
    result = network(to_tensor(padded[None]).contiguous(memory_format=torch.channels_last))
    cut = edge * network.scale
    inner = result[0, :, cut:-cut, cut:-cut].clamp(0, 1) * 255
    return inner.round().byte().permute(1, 2, 0).numpy()


def lanczos(small: Rgb, scale: int) -> Rgb:
    """Enlarge a picture by Pillow's Lanczos filter."""
    size = (small.shape[1] * scale, small.shape[0] * scale)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.LANCZOS))
