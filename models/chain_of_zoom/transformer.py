"""The transformer of Stable Diffusion 3, with what makes it a step of super-resolution."""

import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import torch
from diffusers.models.normalization import AdaLayerNormZero
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor, nn

from models.checkpoint.open import Shape
from models.errors import WeightsError

HEAD_WIDTH = 64
"""Channels of an attention head; no tensor tells it."""


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The sizes of the transformer.

    Attributes:
        layers: Blocks.
        heads: Of attention.
        head_width: Channels of one.
        cells: Channels of a latent.
        patch: Cells along each side of a token.
        text_width: Channels of an embedded token of text.
        pooled_width: Of what stands for the whole prompt.
        sides: Tokens along each side of the largest picture.
    """

    layers: int = 24
    heads: int = 24
    head_width: int = HEAD_WIDTH
    cells: int = 16
    patch: int = 2
    text_width: int = 4096
    pooled_width: int = 2048
    sides: int = 192


def read_transformer_config(
    shapes: Mapping[str, Shape], *, head_width: int = HEAD_WIDTH
) -> TransformerConfig:
    """Read the sizes of a checkpoint in diffusers' names.

    Raises:
        WeightsError: A tensor that tells a size is missing.
    """
    try:
        width, cells, patch, _ = shapes["pos_embed.proj.weight"]
        blocks = "transformer_blocks.{}.norm1.linear.weight"
        return TransformerConfig(
            layers=next(number for number in count() if blocks.format(number) not in shapes),
            heads=width // head_width,
            head_width=head_width,
            cells=cells,
            patch=patch,
            text_width=shapes["context_embedder.weight"][1],
            pooled_width=shapes["time_text_embed.text_embedder.linear_1.weight"][1],
            sides=round(shapes["pos_embed.pos_embed"][1] ** 0.5),
        )
    except KeyError as exc:
        raise WeightsError(
            f"this is no transformer of Stable Diffusion 3: {exc} is missing"
        ) from exc


def build_transformer(config: TransformerConfig) -> SD3Transformer2DModel:
    """Build the transformer with unset weights; on the meta device it takes no memory."""
    return SD3Transformer2DModel(
        patch_size=config.patch,
        in_channels=config.cells,
        out_channels=config.cells,
        num_layers=config.layers,
        num_attention_heads=config.heads,
        attention_head_dim=config.head_width,
        joint_attention_dim=config.text_width,
        caption_projection_dim=config.heads * config.head_width,
        pooled_projection_dim=config.pooled_width,
        pos_embed_max_size=config.sides,
    )


def adapted_layers(transformer: nn.Module) -> list[nn.Linear]:
    """Return the layers that the adapter changes, in the order of its file."""
    norms = [each for each in transformer.modules() if isinstance(each, AdaLayerNormZero)]
    return [each.linear for each in norms]


def read_adapter(path: Path) -> list[Tensor]:
    """Read the published list of tensors, without names: up, down, up, down and so on.

    Raises:
        WeightsError: The file is missing, damaged, or holds something else.
    """
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as exc:
        raise WeightsError(f"{path} is damaged, or holds more than tensors; pull it again") from exc
    if not isinstance(found, list) or not all(isinstance(each, Tensor) for each in found):
        raise WeightsError(f"{path} holds {type(found).__name__}, not a list of tensors")
    return [each.detach() for each in found]


def merge_adapter(transformer: nn.Module, adapter: Sequence[Tensor]) -> None:
    """Add the adapter's products to the weights, in float32.

    Raises:
        WeightsError: It is not made for this transformer.
    """
    layers = adapted_layers(transformer)
    if len(adapter) != 2 * len(layers):
        raise WeightsError(
            f"the adapter has {len(adapter)} tensors where {2 * len(layers)} are needed; it was "
            "made for another transformer"
        )
    for number, layer in enumerate(layers):
        up, down = adapter[2 * number : 2 * number + 2]
        if (up.shape[0], down.shape[-1]) != tuple(layer.weight.shape):
            raise WeightsError(
                f"the adapter's tensors {2 * number} and {2 * number + 1} are of {tuple(up.shape)} "
                f"and {tuple(down.shape)}, for a layer of {tuple(layer.weight.shape)}"
            )
        change = up.float() @ down.float()
        merged = layer.weight.float() + change.to(layer.weight.device)
        layer.weight.data.copy_(merged)
