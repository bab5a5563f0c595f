"""The UNet of Stable Diffusion, and the ControlNets beside it, by the sizes of a checkpoint."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from models.checkpoint.open import Shape
from models.errors import WeightsError

HEAD_WIDTH = 64
"""Channels of an attention head in Stable Diffusion 2; no tensor tells it."""

GROUPS = 32
"""Of every group normalisation; likewise."""


@dataclass(frozen=True, kw_only=True)
class UnetConfig:
    """The sizes of a UNet, or of the half of one that is a ControlNet.

    Attributes:
        channels: Of each level, from the latent's resolution inwards.
        resnets: In each level on the way down.
        attends: Which levels have attention.
        heads: Of attention, in each level.
        context_width: Channels of the embedded prompt.
        in_channels: Of what it is given: a latent, or a latent and a hint.
        groups: Of every group normalisation.
    """

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    resnets: int = 2
    attends: tuple[bool, ...] = (True, True, True, False)
    heads: tuple[int, ...] = (5, 10, 20, 20)
    context_width: int = 1024
    in_channels: int = 4
    groups: int = GROUPS


def read_unet_config(
    shapes: Mapping[str, Shape],
    prefix: str,
    *,
    head_width: int = HEAD_WIDTH,
    groups: int = GROUPS,
) -> UnetConfig:
    """Read the sizes of a network from a checkpoint in the original names.

    Args:
        shapes: Of all tensors of the checkpoint, by name.
        prefix: Of the network's names.
        head_width: Channels of an attention head; narrower levels have a single head.
        groups: Of every group normalisation.

    Raises:
        WeightsError: A tensor that tells a size is missing.
    """
    try:
        return _read(shapes, f"{prefix}input_blocks.", head_width, groups)
    except (KeyError, StopIteration, ZeroDivisionError) as exc:
        raise WeightsError(f"no UNet is under {prefix}: {exc} is missing") from exc


def _read(shapes: Mapping[str, Shape], blocks: str, head_width: int, groups: int) -> UnetConfig:
    numbers = {int(name[len(blocks) :].split(".")[0]) for name in shapes if name.startswith(blocks)}
    levels = 1 + sum(f"{blocks}{number}.0.op.weight" in shapes for number in numbers)
    stride = len(numbers) // levels
    firsts = [1 + level * stride for level in range(levels)]
    channels = [shapes[f"{blocks}{first}.0.out_layers.3.weight"][0] for first in firsts]
    context = next(shapes[name] for name in shapes if name.startswith(blocks) and CONTEXT in name)
    return UnetConfig(
        channels=tuple(channels),
        resnets=stride - 1,
        attends=tuple(f"{blocks}{first}.1.norm.weight" in shapes for first in firsts),
        heads=tuple(max(width // head_width, 1) for width in channels),
        context_width=context[1],
        in_channels=shapes[f"{blocks}0.0.weight"][1],
        groups=groups,
    )


CONTEXT = ".attn2.to_k."
"""In the name of a weight that reads the embedded prompt."""


def build_unet(config: UnetConfig) -> UNet2DConditionModel:
    """Build a UNet with unset weights; on the meta device it takes no memory."""
    return UNet2DConditionModel(
        **_shared(config),
        up_block_types=[
            "CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(config.attends)
        ],
    )


def build_controlnet(config: UnetConfig) -> ControlNetModel:
    """Build a ControlNet whose hint is a latent: more channels of its first convolution.

    A convolution over latent and hint one after the other is all that becomes of the hint, so the
    network of convolutions that embeds hints of pixels elsewhere adds nothing here. Give it
    `cat([latent, hint], dim=1)` as the sample.
    """
    network = ControlNetModel(**_shared(config))
    network.controlnet_cond_embedding = Nothing()
    return network


def _shared(config: UnetConfig) -> dict[str, Any]:
    return {
        "in_channels": config.in_channels,
        "down_block_types": [
            "CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in config.attends
        ],
        "block_out_channels": config.channels,
        "layers_per_block": config.resnets,
        "cross_attention_dim": config.context_width,
        "attention_head_dim": config.heads,  # the number of heads, in spite of its name
        "use_linear_projection": True,
        "norm_num_groups": config.groups,
    }


class Nothing(nn.Module):
    """What a ControlNet adds for a hint that it has seen already."""

    def forward(self, hint: Tensor) -> Tensor:
        """Return a zero of the hint's dtype, on its device."""
        return hint.new_zeros(())


class Controlled(nn.Module):
    """A UNet, and a ControlNet that steers it by a hint in latent cells."""

    def __init__(self, unet: UNet2DConditionModel, controlnet: ControlNetModel) -> None:
        super().__init__()
        self.unet = unet
        self.controlnet = controlnet

    def forward(self, latent: Tensor, timesteps: Tensor, prompt: Tensor, hint: Tensor) -> Tensor:
        """Predict what of a latent is noise.

        Args:
            latent: `(b, 4, h, w)`, sides in multiples of 8, in the networks' dtype.
            timesteps: `(b,)` or `(1,)`, in float32 or integers: half precision has no 999.
            prompt: `(b, tokens, context_width)`.
            hint: `(b, 4, h, w)`.

        Returns:
            The shape of `latent`, in the networks' dtype.
        """
        sample = torch.cat([latent, hint], dim=1)
        down, middle = self.controlnet(sample, timesteps, prompt, hint, return_dict=False)
        (noise,) = self.unet(
            latent,
            timesteps,
            prompt,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )
        return noise
