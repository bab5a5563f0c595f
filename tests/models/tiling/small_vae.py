"""A small autoencoder of Stable Diffusion's kind, with an ordinary untiled forward pass.

Written after the structure that the published checkpoints have; attribute names are diffusers'.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, scaled_dot_product_attention, silu

GROUPS = 4
CHANNELS = (8, 16, 16, 24)
LATENT = 4


class Resnet(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, before, eps=1e-6)
        self.conv1 = nn.Conv2d(before, after, 3, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, after, eps=1e-6)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1)
        if before != after:
            self.conv_shortcut = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(silu(self.norm1(x)))
        h = self.conv2(silu(self.norm2(h)))
        return h + (self.conv_shortcut(x) if hasattr(self, "conv_shortcut") else x)


class Attention(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.group_norm = nn.GroupNorm(GROUPS, channels, eps=1e-6)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels), nn.Dropout(0.0)])

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.group_norm(x).flatten(2).transpose(1, 2)
        seen = scaled_dot_product_attention(self.to_q(tokens), self.to_k(tokens), self.to_v(tokens))
        return x + self.to_out[0](seen).transpose(1, 2).reshape(x.shape)


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(interpolate(x, scale_factor=2, mode="nearest"))


class Middle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.resnets = nn.ModuleList([Resnet(channels, channels) for _ in range(2)])
        self.attentions = nn.ModuleList([Attention(channels)])

    def forward(self, x: Tensor) -> Tensor:
        return self.resnets[1](self.attentions[0](self.resnets[0](x)))


class Block(nn.Module):
    def __init__(
        self, before: int, after: int, depth: int, *, down: bool = False, up: bool = False
    ) -> None:
        super().__init__()
        widths = [before] + [after] * (depth - 1)
        self.resnets = nn.ModuleList([Resnet(width, after) for width in widths])
        if down:
            self.downsamplers = nn.ModuleList([Downsample(after)])
        if up:
            self.upsamplers = nn.ModuleList([Upsample(after)])

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():
            for module in part:
                x = module(x)
        return x


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        ends = list(zip((CHANNELS[0], *CHANNELS), CHANNELS, strict=False))
        self.conv_in = nn.Conv2d(3, CHANNELS[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            [Block(a, b, 2, down=index < 3) for index, (a, b) in enumerate(ends)]
        )
        self.mid_block = Middle(CHANNELS[-1])
        self.conv_norm_out = nn.GroupNorm(GROUPS, CHANNELS[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(CHANNELS[-1], 2 * LATENT, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for block in self.down_blocks:
            x = block(x)
        return self.conv_out(silu(self.conv_norm_out(self.mid_block(x))))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = CHANNELS[::-1]
        ends = list(zip((widths[0], *widths), widths, strict=False))
        self.conv_in = nn.Conv2d(LATENT, widths[0], 3, padding=1)
        self.mid_block = Middle(widths[0])
        self.up_blocks = nn.ModuleList(
            [Block(a, b, 3, up=index < 3) for index, (a, b) in enumerate(ends)]
        )
        self.conv_norm_out = nn.GroupNorm(GROUPS, widths[-1], eps=1e-6)
        self.conv_out = nn.Conv2d(widths[-1], 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid_block(self.conv_in(x))
        for block in self.up_blocks:
            x = block(x)
        return self.conv_out(silu(self.conv_norm_out(x)))


def randomised(module: nn.Module, seed: int) -> nn.Module:
    """Give a module weights under which every part, and every mean, matters."""
    generator = torch.Generator().manual_seed(seed)
    for name, weights in module.named_parameters():
        spread = 1.0 if weights.dim() == 1 else weights[0].numel() ** -0.5
        centre = 1.0 if "norm" in name and name.endswith("weight") else 0.0
        weights.data = centre + spread * torch.randn(weights.shape, generator=generator) * 0.7
    return module.eval().requires_grad_(requires_grad=False)
