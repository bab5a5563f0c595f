"""Small random weights in the published layout of CCSR: the published names, with cut widths."""

import gzip
import json
import re
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from tests.checkpoints import random_tensor, write_tensors

DATA = Path(__file__).parents[2] / "data" / "ccsr"
FILE = "real-world_ccsr-fp32.safetensors"

CONTEXT = 64
"""Channels of a token of text."""
WORDS, TOKENS, BLOCKS = 60, 9, 3
"""Of the text tower."""

Shape = tuple[int, ...]


@cache
def published() -> dict[str, dict[str, Shape]]:
    """Return the published names and shapes by network."""
    with gzip.open(DATA / "keys.json.gz") as keys:
        return {
            part: {name: tuple(shape) for name, shape in shapes.items()}
            for part, shapes in json.load(keys).items()
        }


def published_shapes() -> dict[str, Shape]:
    """Return all names and shapes of a published file."""
    return {name: shape for part in published().values() for name, shape in part.items()}


def small_tensors(*, seed: int = 0) -> dict[str, Tensor]:
    """Return random float32 tensors under the published names."""
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for part, shapes in published().items():
        cut = CUTS.get(part, _cut_unused)
        for name, shape in shapes.items():
            short = _kept_block(name)
            if short is not None:
                tensors[short] = random_tensor(short, cut(shape), generator)
    return tensors


def _kept_block(name: str) -> str | None:
    """Return a name with the text tower's last block as its third; None for those in between."""
    block = re.search(r"resblocks\.(\d+)", name)
    if block is None or int(block[1]) < BLOCKS - 1:
        return name
    return name.replace("resblocks.23.", f"resblocks.{BLOCKS - 1}.") if block[1] == "23" else None


def _cut_unet(shape: Shape) -> list[int]:
    """Keep a tenth: 32 channels are the least that a norm of 32 groups takes."""
    return [side // 10 if side % 320 == 0 else {1024: CONTEXT}.get(side, side) for side in shape]


def _cut_vae(shape: Shape) -> list[int]:
    return [{128: 32, 256: 64, 512: 96}.get(side, side) for side in shape]


def _cut_text(shape: Shape) -> list[int]:
    sizes = {49408: WORDS, 77: TOKENS, 1024: CONTEXT, 3072: 3 * CONTEXT, 4096: 4 * CONTEXT}
    return [sizes.get(side, side) for side in shape]


def _cut_unused(shape: Shape) -> list[int]:
    return [min(side, 4) for side in shape]


CUTS = {
    "unet": _cut_unet,
    "controlnet": _cut_unet,
    "vae": _cut_vae,
    "condition_encoder": _cut_vae,
    "text_encoder": _cut_text,
}


def write_ccsr(folder: Path, *, seed: int = 0) -> Path:
    """Write a small file under the name of the published one into a folder."""
    write_tensors(folder / FILE, small_tensors(seed=seed))
    return folder
