"""A small checkpoint of the RRDBNet family under published names."""

import gzip
import json
import re
from pathlib import Path

import torch
from torch import Tensor

from tests.checkpoints import write_tensors

KEYS = Path(__file__).parents[2] / "data" / "clarity" / "keys.json.gz"
NAMINGS = ("old", "realesrgan", "esrgan_release")
SIZES = {64: 8, 32: 4, 96: 12, 128: 16, 160: 20, 192: 24}
"""Channels: 8 features and a growth of 4 for 64 and 32."""


def published_shapes(naming: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes as one of the three kinds of checkpoints has them."""
    with gzip.open(KEYS) as keys:
        found = json.load(keys)[f"rrdbnet_x4_23b.{naming}"]
    return {name: tuple(shape) for name, shape in found.items()}


def small_tensors(naming: str = "old", *, inputs: int = 3, seed: int = 0) -> dict[str, Tensor]:
    """Return random tensors of a network of one block that reads `inputs` channels."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in published_shapes(naming).items():
        block = re.match(r"(?:model\.1\.sub|body|RRDB_trunk)\.(\d+)\.(?:RDB|rdb)", name)
        if block and int(block[1]) > 0:
            continue
        cut = [SIZES.get(side, side) for side in shape]
        if name.startswith(("model.0.", "conv_first.")) and len(cut) == 4:
            cut[1] = inputs
        values = torch.randn(cut, generator=generator)
        fan_in = max(1, values[0].numel())
        tensors[name] = values * 0.02 if name.endswith("bias") else values / fan_in**0.5
    return tensors


def write_esrgan(folder: Path) -> Path:
    """Write the file of the default variant into a folder."""
    write_tensors(folder / "4x-UltraSharp.pth", small_tensors())
    return folder
