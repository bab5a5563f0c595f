"""Small random checkpoints in the published layout.

Names come from the lists of the published tensors, never from the project's own modules: else a
wrong name would agree with itself. Only widths and the number of blocks are cut.
"""

import gzip
import json
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

KEYS = Path(__file__).parent / "data" / "seedvr2" / "keys.json.gz"

VAE_SIZES = {128: 32, 256: 64, 512: 96, 1024: 256, 4096: 768}
"""Channels by level, and those of four and of eight sub-pixels."""
SIZES = {
    "ema_vae": VAE_SIZES,
    # Two heads of 12 channels. 256 sinusoids, 5120 channels of text and 132 and 64 of patches stay.
    "seedvr2_ema_3b": {2560: 24, 7680: 72, 15360: 144, 6912: 32, 128: 12, 21: 2},
    "seedvr2_ema_7b": {3072: 24, 9216: 72, 18432: 144, 12288: 32, 128: 12, 10: 1},
}
BLOCKS = {
    "ema_vae": (),
    "seedvr2_ema_3b": (0, 1, 10, 31),  # two with weights of their own for text, two shared
    "seedvr2_ema_7b": (0, 1, 35),
}
"""Which blocks of the published files are kept, and numbered anew."""


def published_shapes(file: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of `seedvr2_ema_3b`, `seedvr2_ema_7b` or `ema_vae`."""
    with gzip.open(KEYS) as keys:
        return {name: tuple(shape) for name, (shape, _) in json.load(keys)[file].items()}


def small_tensors(file: str, *, seed: int = 0) -> dict[str, Tensor]:
    """Return random float32 tensors under the published names, with cut sizes."""
    generator = torch.Generator().manual_seed(seed)
    kept = {f"blocks.{block}.": f"blocks.{number}." for number, block in enumerate(BLOCKS[file])}
    tensors = {}
    for name, shape in published_shapes(file).items():
        block = re.match(r"blocks\.\d+\.", name)
        if block and block[0] not in kept:
            continue
        short = name.replace(block[0], kept[block[0]], 1) if block else name
        tensors[short] = random_tensor(
            short, [SIZES[file].get(side, side) for side in shape], generator
        )
    return tensors


def random_tensor(name: str, shape: list[int], generator: torch.Generator) -> Tensor:
    """Draw values that keep activations near 1; scales and norms are near 1 themselves."""
    values = torch.randn(shape, generator=generator)
    if name.endswith(("bias", "shift")):
        return values * 0.02
    if len(shape) < 2:
        return 1 + values * 0.02
    return values / values[0].numel() ** 0.5


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """Write a `.safetensors` or a `.pth` file, and the folder around it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(dict(tensors), path)
    else:
        torch.save(dict(tensors), path)
    return path


def write_seedvr2(folder: Path, *, variant: str = "3b", seed: int = 0) -> Path:
    """Write the two official files of a variant (3b, 7b or 7b_sharp) into a folder."""
    flavour = "3b" if variant == "3b" else "7b"
    tensors = small_tensors(f"seedvr2_ema_{flavour}", seed=seed)
    write_tensors(folder / f"seedvr2_ema_{variant}.pth", tensors)
    write_tensors(folder / "ema_vae.pth", small_tensors("ema_vae", seed=seed))
    return folder
