"""The UNet of Stable Diffusion, and the ControlNets beside it, by the sizes of a checkpoint."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from diffusers.models.controlnets.controlnet import ControlNetModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from models.checkpoint import ldm
from models.checkpoint.open import Shape
from models.diffusion.compiled import Choice, Shapes
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
        linear: Attention is entered and left by linear layers, not by convolutions.
        hint_channels: Of the convolutions that a ControlNet embeds a hint of pixels with, one for
            each resolution on the way to the latent's; empty where the hint is a latent.
        transformers: In each level's attention.
        added_width: Channels of what is told beside the prompt, in Stable Diffusion XL; else 0.
    """

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    resnets: int = 2
    attends: tuple[bool, ...] = (True, True, True, False)
    heads: tuple[int, ...] = (5, 10, 20, 20)
    context_width: int = 1024
    in_channels: int = 4
    groups: int = GROUPS
    linear: bool = True
    hint_channels: tuple[int, ...] = ()
    transformers: tuple[int, ...] = (1, 1, 1, 1)
    added_width: int = 0


def read_unet_config(
    shapes: Mapping[str, Shape],
    prefix: str,
    *,
    heads: int | None = None,
    head_width: int = HEAD_WIDTH,
    groups: int = GROUPS,
) -> UnetConfig:
    """Read the sizes of a network from a checkpoint in the original names.

    Args:
        shapes: Of all tensors of the checkpoint, by name.
        prefix: Of the network's names.
        heads: Of attention, in all levels; None where each level has as many as fit.
        head_width: Channels of an attention head then; narrower levels have a single head.
        groups: Of every group normalisation.

    Raises:
        WeightsError: A tensor that tells a size is missing.
    """
    try:
        modern = ldm.unet(ldm.resnets(shapes, prefix))
        own = {
            modern(name.removeprefix(prefix)): shape
            for name, shape in shapes.items()
            if name.startswith(prefix)
        }
    except KeyError as exc:
        raise WeightsError(f"no UNet is under {prefix}: {exc} is missing") from exc
    return read_modern_unet_config(own, heads=heads, head_width=head_width, groups=groups)


def read_modern_unet_config(
    shapes: Mapping[str, Shape],
    *,
    heads: int | None = None,
    head_width: int = HEAD_WIDTH,
    groups: int = GROUPS,
) -> UnetConfig:
    """Read the sizes of a network from tensors in diffusers' names; see `read_unet_config`.

    Raises:
        WeightsError: A tensor that tells a size is missing.
    """
    try:
        return _read(shapes, heads, head_width, groups)
    except (KeyError, StopIteration) as exc:
        raise WeightsError(f"this is no UNet: {exc} is missing") from exc


def _read(
    shapes: Mapping[str, Shape], heads: int | None, head_width: int, groups: int
) -> UnetConfig:
    levels = _count(shapes, "down_blocks.{}.resnets.0.conv1.weight")
    channels = [shapes[f"down_blocks.{n}.resnets.0.conv1.weight"][0] for n in range(levels)]
    entries = [shapes.get(f"down_blocks.{n}.attentions.0.proj_in.weight") for n in range(levels)]
    context = next(shape for name, shape in shapes.items() if CONTEXT in name)
    return UnetConfig(
        channels=tuple(channels),
        resnets=_count(shapes, "down_blocks.0.resnets.{}.conv1.weight"),
        attends=tuple(entry is not None for entry in entries),
        heads=tuple(heads or max(width // head_width, 1) for width in channels),
        context_width=context[1],
        in_channels=shapes["conv_in.weight"][1],
        groups=groups,
        linear=all(len(entry) == 2 for entry in entries if entry is not None),
        hint_channels=tuple(_hint_channels(shapes)),
        transformers=tuple(
            max(1, _count(shapes, f"down_blocks.{n}.attentions.0." + TRANSFORMER))
            for n in range(levels)
        ),
        added_width=shapes.get("add_embedding.linear_1.weight", (0, 0))[1],
    )


def _count(shapes: Mapping[str, Shape], pattern: str) -> int:
    return next(number for number in count() if pattern.format(number) not in shapes)


def _hint_channels(shapes: Mapping[str, Shape]) -> Iterator[int]:
    """Yield the channels of the convolutions that embed a hint of pixels, by resolution."""
    name = "controlnet_cond_embedding.conv_in.weight"
    for number in count(1, 2):
        if name not in shapes:
            return
        yield shapes[name][0]
        name = f"controlnet_cond_embedding.blocks.{number}.weight"


CONTEXT = ".attn2.to_k."
"""In the name of a weight that reads the embedded prompt."""
TRANSFORMER = "transformer_blocks.{}.norm1.weight"
SIZES_WIDTH = 256
"""Sinusoids of each of the numbers that Stable Diffusion XL is told; no tensor tells it."""


def build_unet(config: UnetConfig) -> UNet2DConditionModel:
    """Build a UNet with unset weights; on the meta device it takes no memory."""
    return UNet2DConditionModel(
        **_shared(config),
        up_block_types=[
            "CrossAttnUpBlock2D" if attends else "UpBlock2D" for attends in reversed(config.attends)
        ],
    )


def build_controlnet(config: UnetConfig) -> ControlNetModel:
    """Build a ControlNet with unset weights, for a hint of pixels or for one that is a latent.

    One for latents has more channels in its first convolution. A convolution over latent and hint
    one after the other is all that becomes of the hint then, so the network of convolutions that
    embeds hints of pixels adds nothing. Give it `cat([latent, hint], dim=1)` as the sample.
    """
    if config.hint_channels:
        return ControlNetModel(
            **_shared(config), conditioning_embedding_out_channels=config.hint_channels
        )
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
        "use_linear_projection": config.linear,
        "norm_num_groups": config.groups,
        "transformer_layers_per_block": list(config.transformers),
        **(_added(config.added_width) if config.added_width else {}),
    }


def _added(width: int) -> dict[str, Any]:
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": SIZES_WIDTH,
        "projection_class_embeddings_input_dim": width,
    }


class Nothing(nn.Module):
    """What a ControlNet adds for a hint that it has seen already."""

    def forward(self, hint: Tensor) -> Tensor:
        """Return a zero of the hint's dtype, on its device."""
        return hint.new_zeros(())


class Controlled(nn.Module):
    """A UNet, and a ControlNet that steers it by a hint in latent cells."""

    def __init__(
        self,
        unet: UNet2DConditionModel,
        controlnet: ControlNetModel,
        *,
        compiled: Shapes | None = None,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.controlnet = controlnet
        self._choose = Choice(unet, controlnet, compiled)

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
        unet, controlnet = self._choose(latent, prompt)
        sample = torch.cat([latent, hint], dim=1)
        down, middle = controlnet(sample, timesteps, prompt, hint, return_dict=False)
        (noise,) = unet(
            latent,
            timesteps,
            prompt,
            down_block_additional_residuals=down,
            mid_block_additional_residual=middle,
            return_dict=False,
        )
        return noise


class Steered(nn.Module):
    """A UNet, and a ControlNet that steers it by a hint in pixels, each part as firmly as is said.

    Takes the ControlNet apart: a hint is embedded once, not at every step.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        controlnet: ControlNetModel | None,
        *,
        hint_embedding: nn.Module | None = None,
        compiled: Shapes | None = None,
    ) -> None:
        super().__init__()
        self.unet = unet
        self.controlnet = controlnet
        self.hint_embedding = hint_embedding
        if controlnet is not None and hint_embedding is None:
            self.hint_embedding = controlnet.controlnet_cond_embedding
            controlnet.controlnet_cond_embedding = nn.Identity()
        self._choose = Choice(unet, nn.Identity() if controlnet is None else controlnet, compiled)

    def around(self, unet: UNet2DConditionModel) -> "Steered":
        """Return another UNet, not compiled, steered by the same ControlNet."""
        return Steered(unet, self.controlnet, hint_embedding=self.hint_embedding).eval()

    @property
    def outputs(self) -> int:
        """How many outputs the ControlNet has: those on the way down, and the middle's."""
        return len(self.controlnet.controlnet_down_blocks) + 1 if self.controlnet else 0

    def embed_hint(self, hint: Tensor) -> Tensor:
        """Return `(b, c, h, w)` in latent cells for a hint `(b, 3, 8 * h, 8 * w)` in [0, 1]."""
        assert self.hint_embedding is not None, "only a ControlNet is shown hints"
        return self.hint_embedding(hint.to(self.unet.dtype))

    def forward(
        self,
        latent: Tensor,
        timesteps: Tensor,
        prompt: Tensor,
        hint: Tensor | None,
        strengths: Sequence[float],
        added: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Predict what of a latent is noise.

        Args:
            latent: `(b, 4, h, w)`, in the networks' dtype.
            timesteps: `(b,)` or `(1,)` float32, fractions too.
            prompt: `(b, tokens, context_width)`; any number of tokens.
            hint: From `embed_hint`; None where nothing steers.
            strengths: What the ControlNet's outputs are multiplied by, from the latent's resolution
                inwards, the middle last; where all are 0, it is not run.
            added: What Stable Diffusion XL is told beside the prompts, under diffusers' names:
                `text_embeds` `(b, width)` and `time_ids` `(b, 6)` in float32.

        Returns:
            The shape of `latent`, in the networks' dtype.
        """
        unet, controlnet = self._choose(latent, prompt)
        told: dict[str, Any] = {"added_cond_kwargs": added, "return_dict": False}
        steering: dict[str, Any] = {}
        if hint is not None and self.controlnet is not None and any(strengths):
            down, middle = controlnet(latent, timesteps, prompt, hint, **told)
            *ways, last = strengths
            steering["down_block_additional_residuals"] = [
                residual * share for residual, share in zip(down, ways, strict=True)
            ]
            steering["mid_block_additional_residual"] = middle * last
        (noise,) = unet(latent, timesteps, prompt, **steering, **told)
        return noise
