"""RRDBNet: residuals in residual dense blocks (ESRGAN, Wang et al. 2018), by 4.

Attributes are named as in Real-ESRGAN's checkpoints; `loading` renames those of the others.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, leaky_relu, pixel_unshuffle

SLOPE = 0.2
"""Of the leaky rectifiers' negative side."""
SHARE = 0.2
"""How much of a block's output is added to its input."""


class Sizes(NamedTuple):
    """What tells one network of the family from another.

    Attributes:
        features: Channels between the blocks; 64 in the published ones.
        growth: Channels that each convolution of a dense block adds; 32.
        blocks: 23, or 6 in the light ones.
        shrink: 1 for networks by 4. Those by 2 and by 1 first fold cells of 2 x 2 and 4 x 4 pixels
            into channels, and then enlarge by 4 as well.
    """

    features: int
    growth: int
    blocks: int
    shrink: int


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees what all before it made."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, growth, 3, padding=1)
        self.conv2 = nn.Conv2d(features + growth, growth, 3, padding=1)
        self.conv3 = nn.Conv2d(features + 2 * growth, growth, 3, padding=1)
        self.conv4 = nn.Conv2d(features + 3 * growth, growth, 3, padding=1)
        self.conv5 = nn.Conv2d(features + 4 * growth, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(b, features, h, w)` to the same shape."""
        seen = x
        for conv in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, leaky_relu(conv(seen), SLOPE)], dim=1)
        return x + SHARE * self.conv5(seen)


class Block(nn.Module):
    """Three dense blocks, whose own residual is added to the input once more."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(b, features, h, w)` to the same shape."""
        return x + SHARE * self.rdb3(self.rdb2(self.rdb1(x)))


class RrdbNet(nn.Module):
    """Enlarges RGB by `scale`: 4 for nearly all published weights, 2 or 1 for some."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        features = sizes.features
        self.shrink = sizes.shrink
        self.conv_first = nn.Conv2d(3 * sizes.shrink**2, features, 3, padding=1)
        self.body = nn.Sequential(*(Block(features, sizes.growth) for _ in range(sizes.blocks)))
        self.conv_body = nn.Conv2d(features, features, 3, padding=1)
        self.conv_up1 = nn.Conv2d(features, features, 3, padding=1)
        self.conv_up2 = nn.Conv2d(features, features, 3, padding=1)
        self.conv_hr = nn.Conv2d(features, features, 3, padding=1)
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

    @property
    def scale(self) -> int:
        """Pixels of output for each of input along an axis."""
        return 4 // self.shrink

    def forward(self, pixels: Tensor) -> Tensor:
        """Enlarge a batch.

        Args:
            pixels: `(b, 3, h, w)` RGB in [0, 1]; sides are multiples of `shrink`.

        Returns:
            `(b, 3, h * scale, w * scale)`, not clipped.
        """
        first = self.conv_first(pixel_unshuffle(pixels, self.shrink))
        features = first + self.conv_body(self.body(first))
        for conv in (self.conv_up1, self.conv_up2):
            features = leaky_relu(conv(interpolate(features, scale_factor=2)), SLOPE)
        return self.conv_last(leaky_relu(self.conv_hr(features), SLOPE))
