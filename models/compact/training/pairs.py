"""Small pictures and what they were made from, batch by batch.

"clean" is reduced by bicubic resampling and nothing else; "photo" is what a camera's file has been
through: a little blur before the reduction, and JPEG after it.
"""

import io
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from models.compact.training.pictures import Rgb

PATCH = 44
"""Side of a small picture, in pixels."""
FLAT = 3.0
"""Patches whose grey levels deviate less than this from their mean are drawn anew, once."""


class Pairs:
    """An endless, seeded source of batches."""

    def __init__(self, pictures: Sequence[Rgb], *, variant: str, scale: int, seed: int) -> None:
        self._pictures = pictures
        self._variant = variant
        self._scale = scale
        self.random = np.random.default_rng(seed)
        # By the root of the area: large pictures teach more, but not in proportion.
        weights = np.array([(p.shape[0] * p.shape[1]) ** 0.5 for p in pictures])
        self._weights = weights / weights.sum()

    def batch(self, count: int) -> tuple[Tensor, Tensor]:
        """Return `count` pairs: `(count, 3, p, p)` and `(count, 3, p * s, p * s)`, in [0, 1]."""
        large = [self._patch() for _ in range(count)]
        small = [degrade(self.random, patch, self._scale, self._variant) for patch in large]
        return to_tensor(np.stack(small)), to_tensor(np.stack(large))

    def _patch(self) -> Rgb:
        """Cut a patch, turn and mirror it, and shuffle its colours."""
        patch = self._cut()
        if patch.std() < FLAT:
            patch = self._cut()
        turned = np.rot90(patch, int(self.random.integers(4)))
        if self.random.random() < 0.5:
            turned = turned[:, ::-1]
        if self.random.random() < 0.5:
            turned = turned[..., self.random.permutation(3)]
        return np.ascontiguousarray(turned)

    def _cut(self) -> Rgb:
        side = PATCH * self._scale
        picture = self._pictures[self.random.choice(len(self._pictures), p=self._weights)]
        top = int(self.random.integers(picture.shape[0] - side + 1))
        left = int(self.random.integers(picture.shape[1] - side + 1))
        return picture[top : top + side, left : left + side]


def to_tensor(pictures: Rgb) -> Tensor:
    """Return `(b, H, W, 3)` bytes as `(b, 3, H, W)` in [0, 1], with the channels last in memory."""
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255


def degrade(random: np.random.Generator, large: Rgb, scale: int, variant: str) -> Rgb:
    """Return a picture at a `scale`-th of its sides, as `variant` has it."""
    picture = Image.fromarray(large)
    if variant == "photo" and random.random() < 0.1:
        picture = picture.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.15 * scale)))
    small = reduce(picture, scale)
    if variant == "photo" and random.random() < 0.9:
        subsampling = 2 if random.random() < 0.7 else 0
        small = through_jpeg(small, int(random.integers(65, 91)), subsampling=subsampling)
    return np.asarray(small)


def reduce(picture: Image.Image, scale: int) -> Image.Image:
    """Reduce by antialiased bicubic resampling (Keys, a = -0.5)."""
    size = (picture.width // scale, picture.height // scale)
    return picture.resize(size, Image.Resampling.BICUBIC)


def through_jpeg(picture: Image.Image, quality: int, *, subsampling: int = 2) -> Image.Image:
    """Return a picture as it comes out of JPEG; subsampling 2 is 4:2:0, 0 is 4:4:4."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, subsampling=subsampling)
    return Image.open(file).convert("RGB")
