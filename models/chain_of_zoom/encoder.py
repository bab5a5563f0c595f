"""The encoder of the autoencoder, from a file that keeps each layer apart from its adapter."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from models.checkpoint.open import Checkpoint, Shape
from models.diffusion.autoencoder import VaeConfig
from models.errors import WeightsError

SCALE = 2.0
"""Of the adapter: an alpha of 8, which is nowhere in the file, by its rank of 4."""
DOWN, UP = "lora_A.default_encoder.weight", "lora_B.default_encoder.weight"
BASE = "base_layer."


class Merged:
    """A checkpoint of the encoder as if nothing had been adapted, its tensors put together."""

    def __init__(self, checkpoint: Checkpoint, prefix: str = "") -> None:
        """Read names and shapes.

        Args:
            checkpoint: Open.
            prefix: Put before every name.
        """
        self.path = checkpoint.path
        self._checkpoint = checkpoint
        self._sources = {
            prefix + name.replace(BASE, ""): name
            for name in checkpoint.shapes
            if not name.endswith((DOWN, UP))
        }
        self.shapes: Mapping[str, Shape] = {
            name: checkpoint.shapes[source] for name, source in self._sources.items()
        }
        self.dtypes: Mapping[str, torch.dtype] = {
            name: checkpoint.dtypes[source] for name, source in self._sources.items()
        }

    def read(self, name: str) -> Tensor:
        """Return one tensor, float32; a weight with its adapter's product.

        Raises:
            WeightsError: Half of an adapter is missing.
        """
        source = self._sources[name]
        tensor = self._checkpoint.read(source).float()
        if not source.endswith(f"{BASE}weight"):
            return tensor
        layer = source.removesuffix(f"{BASE}weight")
        try:
            down, up = (self._checkpoint.read(layer + part).float() for part in (DOWN, UP))
        except KeyError as exc:
            raise WeightsError(f"{self.path}: {exc} is missing") from exc
        return tensor + SCALE * (up.flatten(1) @ down.flatten(1)).reshape(tensor.shape)


def read_encoder_config(shapes: Mapping[str, Shape], *, groups: int) -> VaeConfig:
    """Read the sizes of the autoencoder from an encoder in diffusers' names.

    Raises:
        WeightsError: A tensor that tells a size is missing.
    """
    try:
        conv = "down_blocks.{}.resnets.{}.conv1.weight"
        levels = {
            int(found[1]) for each in shapes if (found := re.match(r"down_blocks\.(\d+)", each))
        }
        return VaeConfig(
            channels=tuple(shapes[conv.format(level, 0)][0] for level in sorted(levels)),
            resnets=sum(conv.format(0, number) in shapes for number in range(8)),
            groups=groups,
            cells=shapes["conv_out.weight"][0] // 2,
            quantised=False,
        )
    except KeyError as exc:
        raise WeightsError(f"this is no encoder: {exc} is missing") from exc
