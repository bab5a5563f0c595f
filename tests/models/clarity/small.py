"""Small random weights of Stable Diffusion 1.5 and what belongs to it, in the published layouts."""

import gzip
import json
import re
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from tests.checkpoints import random_tensor, write_tensors
from tests.models.diffusion.test_safety import small_checker

KEYS = Path(__file__).parents[2] / "data" / "clarity" / "keys.json.gz"
LAYERS = 2
"""Of the text tower."""
WIDTH = 64
"""Channels of a token of text."""
TEXT_SIZES = {768: WIDTH, 3072: 4 * WIDTH}
VAE_SIZES = {128: 32, 256: 64, 512: 96}
VAE = "vae-ft-mse-840000-ema-pruned.safetensors"
CONTROLNET = "control_v11f1e_sd15_tile"

Shape = tuple[int, ...]


@cache
def published(part: str) -> dict[str, Shape]:
    """Return the published names and shapes of a file."""
    with gzip.open(KEYS) as keys:
        found = json.load(keys)[part]
    return {name: tuple(shape) for name, shape in found.items()}


def small(part: str, *, seed: int = 0) -> dict[str, Tensor]:
    """Return random float32 tensors under a file's published names, with cut widths."""
    generator = torch.Generator().manual_seed(seed)
    return {
        name: random_tensor(name, _cut(name, shape), generator)
        for name, shape in published(part).items()
        if not _is_beyond(name)
    }


def _is_beyond(name: str) -> bool:
    layer = re.search(r"encoder[._]layers[._](\d+)", name)
    return layer is not None and int(layer[1]) >= LAYERS


def _cut(name: str, shape: Shape) -> list[int]:
    """Keep a tenth of a UNet: 32 channels are the least that a norm of 32 groups takes."""
    if name.startswith(("cond_stage_model.", "text_model.", "lora_te")):
        return [TEXT_SIZES.get(side, side) for side in shape]
    if name.startswith(("first_stage_model.", "encoder.", "decoder.", "quant", "post_quant")):
        return [VAE_SIZES.get(side, side) for side in shape]
    # Where a UNet's lora has 32 channels, that is its rank.
    return [side // 10 if side % 320 == 0 else TEXT_SIZES.get(side, side) for side in shape]


def write_base(path: Path, *, seed: int = 0) -> Path:
    """Write a single file as community checkpoints are, with tensors that nobody needs."""
    tensors = small("sd15_single_file", seed=seed)
    tensors["alphas_cumprod"] = torch.rand(1000)
    return write_tensors(path, tensors)


def write_base_folder(folder: Path, *, seed: int = 0) -> Path:
    """Write a folder in diffusers' layout."""
    write_tensors(
        folder / "unet" / "diffusion_pytorch_model.safetensors",
        small("sd15_unet.diffusers", seed=seed),
    )
    write_tensors(
        folder / "text_encoder" / "model.safetensors",
        small("sd15_text_encoder.hf_on_disk", seed=seed),
    )
    return folder


def write_lora(path: Path, *, seed: int = 0) -> Path:
    """Write a LoRA of kohya's kind whose effect can be seen."""
    tensors = small("kohya_lora_sd15_rank32", seed=seed)
    alphas = {name: torch.tensor(16.0) for name in tensors if name.endswith(".alpha")}
    return write_tensors(path, tensors | alphas)


def write_inversion(path: Path) -> Path:
    """Write what the web UI writes when it has learnt an inversion."""
    vectors = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(5))
    torch.save({"string_to_param": nn.ParameterDict({"*": nn.Parameter(vectors)})}, path)
    return path


def write_clarity(folder: Path) -> Path:
    """Write all files of the default options into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_base(folder / "juggernaut_reborn.safetensors")
    write_tensors(folder / VAE, small("vae_ft_mse_original"))
    write_tensors(folder / f"{CONTROLNET}.pth", small("controlnet_tile.original_pth", seed=1))
    write_lora(folder / "more_details.safetensors", seed=2)
    write_lora(folder / "SDXLrender_v2.0.safetensors", seed=3)
    write_inversion(folder / "JuggernautNegative-neg.pt")
    small_checker(folder)
    (folder / "safety.bin").rename(folder / "pytorch_model.bin")
    return folder
