"""The steps of a KL autoencoder whose parts are named as diffusers names them.

Stable Diffusion's (1 to 3), and SeedVR2's once its kernels are folded to two dimensions: `conv_in`,
`down_blocks` or `up_blocks` of `resnets` with a `downsamplers` or `upsamplers`, `mid_block`,
`conv_norm_out`, `conv_out`. Up- and downsamplers pad by themselves.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention, silu

from models.tiling.steps import Add, Local, Norm, Push, Step, Whole

SCORES_AT_ONCE = 2**28
"""Attention scores held at once, 1 GiB in float32, where no kernel does without them."""

FRUGAL_DEVICES = frozenset({"cpu", "cuda", "meta"})
"""Kinds of device whose attention kernels never hold all scores, whatever the head's width."""


def encoder_steps(encoder: nn.Module) -> list[Step]:
    """Return the steps from pixels `(b, 3, h, w)` to moments `(b, 2 * latent, h / 8, w / 8)`."""
    return [
        _convolution(encoder.get_submodule("conv_in")),
        *_blocks(encoder.get_submodule("down_blocks")),
        *_middle(encoder.get_submodule("mid_block")),
        *_ending(encoder),
    ]


def decoder_steps(decoder: nn.Module) -> list[Step]:
    """Return the steps from a latent `(b, latent, h, w)` to pixels `(b, 3, 8 * h, 8 * w)`."""
    return [
        _convolution(decoder.get_submodule("conv_in")),
        *_middle(decoder.get_submodule("mid_block")),
        *_blocks(decoder.get_submodule("up_blocks")),
        *_ending(decoder),
    ]


def _convolution(module: nn.Module) -> Local:
    """Return a convolution of 3x3 with padding."""
    return Local(module=module, reach=1)


def _ending(module: nn.Module) -> list[Step]:
    return [
        _norm(module, "conv_norm_out", active=True),
        _convolution(module.get_submodule("conv_out")),
    ]


def _blocks(blocks: nn.Module) -> Iterator[Step]:
    for block in blocks.children():
        parts = dict(block.named_children())
        for resnet in parts["resnets"].children():
            yield from _resnet(resnet)
        if "downsamplers" in parts:
            yield Local(module=_only(parts["downsamplers"]), reach=1, down=2)
        if "upsamplers" in parts:
            yield Local(module=_only(parts["upsamplers"]), reach=1, up=2)


def _middle(block: nn.Module) -> list[Step]:
    first, second = block.get_submodule("resnets").children()
    attention = _only(block.get_submodule("attentions"))
    return [*_resnet(first), *_attention(attention), *_resnet(second)]


def _resnet(resnet: nn.Module) -> list[Step]:
    return [
        Push(),
        _norm(resnet, "norm1", active=True),
        _convolution(resnet.get_submodule("conv1")),
        _norm(resnet, "norm2", active=True),
        _convolution(resnet.get_submodule("conv2")),
        Add(shortcut=dict(resnet.named_children()).get("conv_shortcut")),
    ]


def _attention(attention: nn.Module) -> list[Step]:
    return [
        Push(),
        _norm(attention, "group_norm", active=False),
        Whole(module=lambda picture: attend(attention, picture)),
        Add(),
    ]


def resting_bytes(coder: nn.Module, pixels: int, dtype: torch.dtype) -> int:
    """Return what rests at most between the layers of an encoder or a decoder.

    That is within the resnets at full resolution: what comes in, kept for the shortcut, and what
    the first convolution makes of it.

    Args:
        coder: The encoder or the decoder.
        pixels: Of the picture, at full resolution.
        dtype: Of the activations.
    """
    parts = dict(coder.named_children())
    if "up_blocks" in parts:
        block = [*parts["up_blocks"].children()][-1]
    else:
        block = next(parts["down_blocks"].children())
    channels = max(
        sum(_group_norm(resnet, name).num_channels for name in ("norm1", "norm2"))
        for resnet in block.get_submodule("resnets").children()
    )
    return pixels * channels * dtype.itemsize


def attend(attention: nn.Module, picture: Tensor) -> Tensor:
    """Let every position of `(b, c, h, w)` look at every other: one head as wide as `c`.

    Args:
        attention: Has the linear layers `to_q`, `to_k`, `to_v` and `to_out.0`.
        picture: Already normalised.

    Returns:
        The same shape, without the residual.
    """
    tokens = picture.flatten(2).transpose(1, 2).unsqueeze(1)  # (b, 1, h*w, c)
    query, key, value = (attention.get_submodule(name)(tokens) for name in ("to_q", "to_k", "to_v"))
    rows = tokens.shape[2]
    if picture.device.type not in FRUGAL_DEVICES:
        rows = max(1, SCORES_AT_ONCE // rows)
    seen = torch.cat(
        [scaled_dot_product_attention(part, key, value) for part in query.split(rows, dim=2)], dim=2
    )
    out = attention.get_submodule("to_out.0")(seen)
    return out.squeeze(1).transpose(1, 2).unflatten(2, picture.shape[2:])


def _norm(module: nn.Module, name: str, *, active: bool) -> Norm:
    return Norm(norm=_group_norm(module, name), activation=_silu_in_place if active else None)


def _group_norm(module: nn.Module, name: str) -> nn.GroupNorm:
    norm = module.get_submodule(name)
    assert isinstance(norm, nn.GroupNorm), f"{name} is a group norm in every KL autoencoder"
    return norm


def _silu_in_place(tile: Tensor) -> Tensor:
    return silu(tile, inplace=True)


def _only(modules: nn.Module) -> nn.Module:
    (module,) = modules.children()
    return module
