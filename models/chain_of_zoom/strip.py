"""All frames of a zoom in one picture, to be looked at."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from models.image import Pixels

MOST_HEIGHT, MOST_WIDTH = 512, 16_384
"""Pixels of a strip; JPEG and most viewers take one so long."""
GAP = 4
"""White pixels between two frames."""


def side_by_side(frames: Sequence[Image.Image]) -> Pixels:
    """Put frames of one size beside each other, shrunk to what a strip has room for.

    Returns:
        `(H, W, 3)` uint8.
    """
    width, height = frames[0].size
    room = (MOST_WIDTH - GAP * (len(frames) - 1)) / len(frames)
    ratio = min(1.0, MOST_HEIGHT / height, room / width)
    size = max(int(width * ratio), 1), max(int(height * ratio), 1)
    gap = np.full((size[1], GAP, 3), 255, np.uint8)
    parts = []
    for frame in frames:
        parts += [np.asarray(frame.resize(size, Image.Resampling.LANCZOS)), gap]
    return np.concatenate(parts[:-1], axis=1)
