"""The autoencoder between pixels and latent cells, for single images.

Upstream: `VideoAutoencoderKLWrapper` of ByteDance-Seed/SeedVR (`models/video_vae_v3`), a causal
autoencoder of videos; `folding` says how its kernels over time become flat. Attributes are named as
the tensors of `ema_vae.pth`.
"""

from itertools import pairwise

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention, silu

from models.seedvr2.config import VaeConfig
from models.seedvr2.folding import Folded

CELL = 8
"""Pixels along each side of a latent cell."""

EPSILON = 1e-6
"""Of every group normalisation."""


class Vae(nn.Module):
    """Pixels in [-1, 1] to latent cells, and back."""

    def __init__(self, config: VaeConfig) -> None:
        """Build the network with unset parameters; on the meta device it takes no memory."""
        super().__init__()
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)

    def encode(self, pixels: Tensor) -> Tensor:
        """Return the moments of the latent.

        Args:
            pixels: `(b, 3, 8 * h, 8 * w)` in [-1, 1].

        Returns:
            `(b, 2 * latent, h, w)`: means, then log variances; see `sample`.
        """
        return self.encoder(pixels)

    def decode(self, latent: Tensor) -> Tensor:
        """Return `(b, 3, 8 * h, 8 * w)`, roughly in [-1, 1], of a latent `(b, latent, h, w)`."""
        return self.decoder(latent)


def sample(moments: Tensor, noise: Tensor) -> Tensor:
    """Draw a latent from the posterior, in float32.

    Args:
        moments: `(b, 2 * latent, h, w)` from the encoder.
        noise: `(b, latent, h, w)`, standard normal.
    """
    mean, log_variance = moments.float().chunk(2, dim=1)
    deviation = torch.exp(0.5 * log_variance.clamp(-30, 20))  # the bounds are upstream's
    return mean + deviation * noise


class Encoder(nn.Module):
    """`(b, 3, 8 * h, 8 * w)` to `(b, 2 * latent, h, w)`."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widest = config.channels[-1]
        self.conv_in = Folded(3, config.channels[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(_down_blocks(config))
        self.mid_block = Middle(widest, config.groups)
        self.conv_norm_out = nn.GroupNorm(config.groups, widest, eps=EPSILON)
        self.conv_out = Folded(widest, 2 * config.latent_channels, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the moments."""
        picture = self.conv_in(picture)
        for block in self.down_blocks:
            picture = block(picture)
        picture = self.mid_block(picture)
        return self.conv_out(silu(self.conv_norm_out(picture)))


class Decoder(nn.Module):
    """`(b, latent, h, w)` to `(b, 3, 8 * h, 8 * w)`."""

    def __init__(self, config: VaeConfig) -> None:
        super().__init__()
        widest, narrowest = config.channels[-1], config.channels[0]
        self.conv_in = Folded(config.latent_channels, widest, 3, padding=1)
        self.mid_block = Middle(widest, config.groups)
        self.up_blocks = nn.ModuleList(_up_blocks(config))
        self.conv_norm_out = nn.GroupNorm(config.groups, narrowest, eps=EPSILON)
        self.conv_out = Folded(narrowest, 3, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the pixels."""
        picture = self.mid_block(self.conv_in(picture))
        for block in self.up_blocks:
            picture = block(picture)
        return self.conv_out(silu(self.conv_norm_out(picture)))


def _down_blocks(config: VaeConfig) -> list["DownBlock"]:
    """Halve the sides after every level but the last, time in the last `time_levels` of them."""
    inputs = [config.channels[0], *config.channels[:-1]]
    halvings = len(config.channels) - 1
    return [
        DownBlock(
            before,
            after,
            resnets=config.encoder_resnets,
            groups=config.groups,
            halving=level < halvings,
            depth=3 if level >= halvings - config.time_levels else 1,
        )
        for level, (before, after) in enumerate(zip(inputs, config.channels, strict=True))
    ]


def _up_blocks(config: VaeConfig) -> list["UpBlock"]:
    """Double the sides after every level but the last, time in the first `time_levels`."""
    outwards = [config.channels[-1], *reversed(config.channels)]
    return [
        UpBlock(
            before,
            after,
            resnets=config.decoder_resnets,
            groups=config.groups,
            doubling=level < len(config.channels) - 1,
            frames=2 if level < config.time_levels else 1,
        )
        for level, (before, after) in enumerate(pairwise(outwards))
    ]


class DownBlock(nn.Module):
    """Resnets, then half the sides."""

    def __init__(
        self, inputs: int, outputs: int, *, resnets: int, groups: int, halving: bool, depth: int
    ) -> None:
        super().__init__()
        self.resnets = _resnets(inputs, outputs, count=resnets, groups=groups)
        if halving:
            self.downsamplers = nn.ModuleList([Downsample(outputs, depth=depth)])

    def forward(self, picture: Tensor) -> Tensor:
        """Apply all parts in turn."""
        for part in self.children():
            for module in part.children():
                picture = module(picture)
        return picture


class UpBlock(nn.Module):
    """Resnets, then twice the sides."""

    def __init__(
        self, inputs: int, outputs: int, *, resnets: int, groups: int, doubling: bool, frames: int
    ) -> None:
        super().__init__()
        self.resnets = _resnets(inputs, outputs, count=resnets, groups=groups)
        if doubling:
            self.upsamplers = nn.ModuleList([Upsample(outputs, frames=frames)])

    def forward(self, picture: Tensor) -> Tensor:
        """Apply all parts in turn."""
        for part in self.children():
            for module in part.children():
                picture = module(picture)
        return picture


def _resnets(inputs: int, outputs: int, *, count: int, groups: int) -> nn.ModuleList:
    return nn.ModuleList(
        Resnet(inputs if index == 0 else outputs, outputs, groups) for index in range(count)
    )


class Middle(nn.Module):
    """Two resnets around an attention over all cells."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.attentions = nn.ModuleList([Attention(channels, groups)])
        self.resnets = nn.ModuleList([Resnet(channels, channels, groups) for _ in range(2)])

    def forward(self, picture: Tensor) -> Tensor:
        """Return a picture of the same shape."""
        first, second = self.resnets
        (attention,) = self.attentions
        return second(attention(first(picture)))


class Resnet(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, inputs, eps=EPSILON)
        self.conv1 = Folded(inputs, outputs, 3, padding=1)
        self.norm2 = nn.GroupNorm(groups, outputs, eps=EPSILON)
        self.conv2 = Folded(outputs, outputs, 3, padding=1)
        if inputs != outputs:
            self.conv_shortcut = Folded(inputs, outputs, 1)

    def forward(self, picture: Tensor) -> Tensor:
        """Return a picture of the same sides."""
        change = self.conv1(silu(self.norm1(picture)))
        change = self.conv2(silu(self.norm2(change)))
        if hasattr(self, "conv_shortcut"):
            picture = self.conv_shortcut(picture)
        return picture + change


class Downsample(nn.Module):
    """Half the sides by a stride of two; zeros go to the right and the bottom only."""

    def __init__(self, channels: int, *, depth: int) -> None:
        super().__init__()
        self.conv = Folded(channels, channels, 3, depth=depth, stride=2)

    def forward(self, picture: Tensor) -> Tensor:
        """Return a picture of half the sides."""
        return self.conv(pad(picture, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Twice the sides: four times the channels become 2 x 2 sub-pixels, row first."""

    def __init__(self, channels: int, *, frames: int) -> None:
        super().__init__()
        self.upscale_conv = Folded(channels, 4 * channels, 1, frames=frames)
        self.conv = Folded(channels, channels, 3, padding=1)

    def forward(self, picture: Tensor) -> Tensor:
        """Return a picture of twice the sides."""
        cells = self.upscale_conv(picture)
        return self.conv(rearrange(cells, "b (y x c) h w -> b c (h y) (w x)", y=2, x=2))


class Attention(nn.Module):
    """One head over all cells of the picture, beside a shortcut."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(groups, channels, eps=EPSILON)
        self.to_q = nn.Linear(channels, channels)
        self.to_k = nn.Linear(channels, channels)
        self.to_v = nn.Linear(channels, channels)
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, picture: Tensor) -> Tensor:
        """Return a picture of the same shape."""
        cells = rearrange(self.group_norm(picture), "b c h w -> b 1 (h w) c")
        seen = scaled_dot_product_attention(self.to_q(cells), self.to_k(cells), self.to_v(cells))
        change = self.to_out[0](seen)
        return picture + rearrange(change, "b 1 (h w) c -> b c h w", h=picture.shape[2])
