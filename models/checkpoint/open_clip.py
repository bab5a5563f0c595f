"""OpenCLIP's text tower as Hugging Face has it: other names, and attention's layers apart.

Their LoRAs change queries, keys and values one by one, which the original keeps in one tensor.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from models.checkpoint.keymaps import rename
from models.checkpoint.open import Checkpoint, Shape

NAMES = rename(
    (
        (r"^token_embedding\.", "embeddings.token_embedding."),
        (r"^positional_embedding$", "embeddings.position_embedding.weight"),
        (r"^transformer\.resblocks\.", "encoder.layers."),
        (r"\.attn\.", ".self_attn."),
        (r"\.ln_([12])\.", r".layer_norm\1."),
        (r"\.mlp\.c_fc\.", ".mlp.fc1."),
        (r"\.mlp\.c_proj\.", ".mlp.fc2."),
        (r"^ln_final\.", "final_layer_norm."),
    )
)
FUSED = "self_attn.in_proj_"
PROJECTION = "text_projection"
"""Multiplied from the right, so that it is the transpose of a linear layer's weight."""

View: TypeAlias = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where a tensor comes from, and what is made of it."""

    name: str
    shape: Shape
    view: View = lambda tensor: tensor


class Apart:
    """An open checkpoint, seen so; tensors outside of the tower are as they are."""

    def __init__(self, checkpoint: Checkpoint, prefix: str) -> None:
        """Take a checkpoint and the beginning of the tower's names in it, which is kept."""
        self.path: Path = checkpoint.path
        self._checkpoint = checkpoint
        self._sources: dict[str, _Source] = {}
        for name, shape in checkpoint.shapes.items():
            if name.startswith(prefix):
                for own, source in _parts(name, name.removeprefix(prefix), shape):
                    self._sources[prefix + own] = source
            else:
                self._sources[name] = _Source(name=name, shape=shape)
        self.shapes: Mapping[str, Shape] = {
            name: source.shape for name, source in self._sources.items()
        }
        self.dtypes: Mapping[str, torch.dtype] = {
            name: checkpoint.dtypes[source.name] for name, source in self._sources.items()
        }

    def read(self, name: str) -> Tensor:
        """Return one tensor."""
        source = self._sources[name]
        return source.view(self._checkpoint.read(source.name))


def _parts(name: str, own: str, shape: Shape) -> Iterator[tuple[str, _Source]]:
    """Yield what a published tensor of the tower becomes."""
    renamed = NAMES(own)
    if own == PROJECTION and len(shape) == 2:
        yield f"{own}.weight", _Source(name=name, shape=shape[::-1], view=torch.t)
    elif FUSED in renamed and shape and shape[0] % 3 == 0:
        third = (shape[0] // 3, *shape[1:])
        for number, letter in enumerate("qkv"):
            split = renamed.replace("in_proj_", f"{letter}_proj.")
            yield split, _Source(name=name, shape=third, view=_third(number))
    else:
        yield renamed, _Source(name=name, shape=shape)


def _third(number: int) -> View:
    return lambda tensor: tensor.chunk(3)[number]
