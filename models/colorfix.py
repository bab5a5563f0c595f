"""Gives an enlarged picture back the colours of its source, which generative models drift from.

All functions take `(b, 3, h, w)` pictures of one size in [-1, 1] and work in float32. Written from
descriptions of what upstream projects do (see each); no code of theirs is here.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

LEVELS = 5
"""Of the wavelet decomposition: colours are what is left after blurs of up to 16 pixels."""

ADAIN_EPSILON = 1e-5
"""Added to a variance, so that a picture of one colour has a deviation to divide by."""

LIGHTNESS_KEPT = 0.8
"""Share of its own lightness that an enlarged picture keeps in `lab`."""


def wavelet(picture: Tensor, source: Tensor, *, most_radius: int | None = None) -> Tensor:
    """Keep the picture's details and take everything coarser from the source.

    Args:
        picture: The enlarged picture.
        source: The input, resampled to the same size.
        most_radius: Cuts the blurs' radii, for pictures that are small against 16 pixels.

    Returns:
        A picture, not clipped.
    """
    picture, source = picture.float(), source.float()
    return picture - blurred(picture, most_radius) + blurred(source, most_radius)


def blurred(picture: Tensor, most_radius: int | None = None) -> Tensor:
    """Blur with a 3 x 3 binomial kernel five times, spread twice as wide each time."""
    kernel = torch.tensor([0.25, 0.5, 0.25], device=picture.device).expand(3, 1, 1, 3)
    for level in range(LEVELS):
        radius = 2**level if most_radius is None else min(2**level, most_radius)
        picture = conv2d(_edged(picture, radius, 0), kernel, groups=3, dilation=(1, radius))
        picture = conv2d(_edged(picture, 0, radius), kernel.mT, groups=3, dilation=(radius, 1))
    return picture


def _edged(picture: Tensor, across: int, down: int) -> Tensor:
    """Let the outermost pixels go on."""
    return pad(picture, (across, across, down, down), mode="replicate")


def adain(picture: Tensor, source: Tensor) -> Tensor:
    """Give each channel the source's mean and deviation (Huang and Belongie 2017), not clipped."""
    picture, source = picture.float(), source.float()
    mean, deviation = _statistics(picture)
    source_mean, source_deviation = _statistics(source)
    return (picture - mean) / deviation * source_deviation + source_mean


def _statistics(picture: Tensor) -> tuple[Tensor, Tensor]:
    several = picture.shape[2:].numel() > 1  # of a single pixel there is no unbiased variance
    variance, mean = torch.var_mean(picture, dim=(2, 3), keepdim=True, correction=int(several))
    return mean, (variance + ADAIN_EPSILON).sqrt()


def lab(picture: Tensor, source: Tensor, *, lightness_kept: float = LIGHTNESS_KEPT) -> Tensor:
    """Match the distributions of hues, after `wavelet`; of lightness a part.

    Follows the default of numz/ComfyUI-SeedVR2_VideoUpscaler. In CIE L*a*b* (D65), the picture's
    a* and b* values get those of the source by rank.

    Args:
        picture: The enlarged picture.
        source: The input, resampled to the same size.
        lightness_kept: 1 keeps the picture's L*, 0 matches it as well.

    Returns:
        A picture in [-1, 1].
    """
    most_radius = max(1, min(picture.shape[2:]) // 8)
    coarse = wavelet(picture, source, most_radius=most_radius).clamp(-1, 1)
    own, other = to_lab(coarse), to_lab(source.float())
    matched = match_ranks(own, other)
    own[:, 0] = torch.lerp(matched[:, 0], own[:, 0], lightness_kept)
    own[:, 1:] = matched[:, 1:]
    return from_lab(own)


def match_ranks(picture: Tensor, source: Tensor) -> Tensor:
    """Give each channel's k-th smallest value the k-th smallest of the source's."""
    order = picture.flatten(2).argsort(dim=2)
    values = source.flatten(2).sort(dim=2).values
    return torch.empty_like(values).scatter_(2, order, values).view_as(picture)


# IEC 61966-2-1 (sRGB) and CIE 15 (L*a*b*), white point D65.
TO_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
FROM_XYZ = (
    (3.2404542, -1.5371385, -0.4985314),
    (-0.9692660, 1.8760108, 0.0415560),
    (0.0556434, -0.2040259, 1.0572252),
)
WHITE = (0.95047, 1.0, 1.08883)
BEND = 6 / 29
SLOPE = (29 / 3) ** 3


def to_lab(picture: Tensor) -> Tensor:
    """Turn RGB in [-1, 1] into L* in [0, 100], a* and b* around 0."""
    rgb = picture / 2 + 0.5
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).clamp(min=0) ** 2.4, rgb / 12.92)
    xyz = _mix(linear, TO_XYZ) / _column(WHITE, picture)
    bent = torch.where(xyz > BEND**3, xyz.clamp(min=BEND**3) ** (1 / 3), (SLOPE * xyz + 16) / 116)
    x, y, z = bent.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], dim=1)


def from_lab(picture: Tensor) -> Tensor:
    """Turn L*, a* and b* into RGB, clipped to [-1, 1]."""
    lightness, red_green, yellow_blue = picture.unbind(1)
    y = (lightness + 16) / 116
    bent = torch.stack([y + red_green / 500, y, y - yellow_blue / 200], dim=1)
    xyz = torch.where(bent > BEND, bent**3, (116 * bent - 16) / SLOPE)
    linear = _mix(xyz * _column(WHITE, picture), FROM_XYZ)
    curved = 1.055 * linear.clamp(min=0.0031308) ** (1 / 2.4) - 0.055
    rgb = torch.where(linear > 0.0031308, curved, 12.92 * linear)
    return rgb.clamp(0, 1) * 2 - 1


def _mix(picture: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.einsum("oi,bihw->bohw", torch.tensor(matrix, device=picture.device), picture)


def _column(values: tuple[float, ...], picture: Tensor) -> Tensor:
    return torch.tensor(values, device=picture.device).view(3, 1, 1)
