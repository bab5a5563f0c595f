"""Statistics of a group normalisation, taken tile by tile and pooled to those of the whole picture.

float32 within a tile, float64 between tiles, whatever the dtype of the network.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm

CHANNEL_GROUPS_AT_ONCE = 4
"""Limits the float32 copy of a half-precision tile to a part of its channels."""


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Mean and biased variance of each group of channels over some pixels.

    Attributes:
        pixels: How many pixels they were taken over.
        mean: `(b, groups)` float32.
        variance: Likewise.
    """

    pixels: int
    mean: Tensor
    variance: Tensor


def measure(tile: Tensor, groups: int) -> Moments:
    """Take the statistics of a tile of shape `(b, c, h, w)`, where it lies."""
    variance, mean = (_by_channel if tile.device.type == "cpu" else _by_group)(tile, groups)
    return Moments(pixels=tile.shape[-2] * tile.shape[-1], mean=mean, variance=variance)


def _by_group(tile: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return variance and mean, each `(b, groups)`, by the kernel that GPUs are quick in."""
    parts = [
        torch.var_mean(part.float(), dim=(2, 3, 4), correction=0)
        for part in tile.unflatten(1, (groups, -1)).split(CHANNEL_GROUPS_AT_ONCE, dim=1)
    ]
    variance, mean = zip(*parts, strict=True)
    return torch.cat(variance, dim=1), torch.cat(mean, dim=1)


def _by_channel(tile: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return the same by a kernel that CPUs are twice as quick in, whatever the memory layout.

    It is the one of a batch normalisation in training. That of a group normalisation is quicker yet
    but subtracts large squares from each other when the channels come last.
    """
    unread = torch.zeros(tile.shape[1])  # the kernel wants to keep averages over calls
    parts = [torch.batch_norm_update_stats(one, unread, unread, 0.0) for one in tile.split(1)]
    mean, variance = (
        torch.stack(each).unflatten(1, (groups, -1)) for each in zip(*parts, strict=True)
    )
    return variance.mean(2) + mean.var(2, correction=0), mean.mean(2)


def pool(tiles: Sequence[Moments], *, between: bool = True) -> Moments:
    """Return the statistics of all tiles together.

    The variance of the whole is the mean of the tiles' variances plus the variance of their means
    (Chan, Golub, LeVeque 1979); without the second term tiles of unlike brightness would show.

    Args:
        tiles: Of each.
        between: Whether the second term counts; some upstream projects leave it out.
    """
    if len(tiles) == 1:
        return tiles[0]
    device = tiles[0].mean.device
    weights = torch.tensor([tile.pixels for tile in tiles], dtype=torch.float64)[:, None, None]
    weights = weights / weights.sum()
    means = torch.stack([tile.mean for tile in tiles]).to("cpu", torch.float64)
    variances = torch.stack([tile.variance for tile in tiles]).to("cpu", torch.float64)
    mean = (weights * means).sum(0)
    spread = (means - mean) ** 2 if between else 0
    variance = (weights * (variances + spread)).sum(0)
    return Moments(
        pixels=sum(tile.pixels for tile in tiles),
        mean=mean.to(device, torch.float32),
        variance=variance.to(device, torch.float32),
    )


def normalise(tile: Tensor, norm: nn.GroupNorm, moments: Moments) -> Tensor:
    """Apply a group normalisation with given statistics to a tile of shape `(b, c, h, w)`.

    A batch normalisation in evaluation is just that, with one group for each channel: one kernel,
    float32 inside, in every dtype and memory layout.
    """
    batch, channels = tile.shape[:2]
    each = channels // norm.num_groups
    normal = batch_norm(
        tile.reshape(1, batch * channels, *tile.shape[2:]),
        moments.mean.repeat_interleave(each, dim=1).flatten(),
        moments.variance.repeat_interleave(each, dim=1).flatten(),
        norm.weight.float().repeat(batch),
        norm.bias.float().repeat(batch),
        eps=norm.eps,
    )
    return normal.reshape(tile.shape)
