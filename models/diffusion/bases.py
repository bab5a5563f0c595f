"""UNet and text encoders of Stable Diffusion 1.5 and XL, from the checkpoints people publish."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from models.checkpoint import ldm
from models.checkpoint.keymaps import by_prefix, rename, unchanged
from models.checkpoint.open import Checkpoint, Shape, open_checkpoint
from models.checkpoint.open_clip import Apart
from models.checkpoint.strict import Place, assign
from models.diffusion.clip import ClipText, TowerConfig, read_tower
from models.diffusion.unet import (
    UnetConfig,
    build_unet,
    read_modern_unet_config,
    read_unet_config,
)
from models.errors import WeightsError


class Generation(StrEnum):
    """Which Stable Diffusion; the value is its name."""

    SD15 = "Stable Diffusion 1.5"
    SDXL = "Stable Diffusion XL"


HEADS: Mapping[Generation, int | None] = {Generation.SD15: 8, Generation.SDXL: None}
"""Of attention in every level, which no tensor tells; None for as many as there are 64 channels."""

UNET = "model.diffusion_model."
TEXT = "cond_stage_model.transformer.text_model."
NARROW = "conditioner.embedders.0.transformer.text_model."
WIDE = "conditioner.embedders.1.model."
PROJECTION = f"{WIDE}text_projection.weight"
TOWERS: Mapping[Generation, Mapping[str, str]] = {
    Generation.SD15: {"text": TEXT},
    Generation.SDXL: {"text": NARROW, "text_2": WIDE},
}
"""The text encoders, and the beginnings of their tensors' names."""
FOLDERS = {"text": "text_encoder", "text_2": "text_encoder_2"}
TEXT_FILES = ("model.safetensors", "pytorch_model.bin")
"""Of the text encoders in diffusers' layout: their folders, and a file in each."""
UNPREFIXED = r"^(text_model\.)?"
"""transformers writes a tower's own prefix or leaves it out, by its version."""
PROJECTED = (r"^text_2\.text_projection\.", "projection.")

UNUSED = (
    r"first_stage_model\..*",  # an autoencoder is loaded by itself
    r"model_ema\..*",
    r".*\.position_ids",
    r"conditioner\.embedders\.1\.model\.logit_scale",
    # The schedule, computed anew: files of reduced precision have rounded it.
    r"(betas|logvar|\w*alphas_cumprod\w*|posterior_\w+|denoiser\.sigmas)",
)

OTHERS = {
    "conditioner.embedders.0.model.": "the refiner of Stable Diffusion XL",
    "conditioner.embedders.": Generation.SDXL.value,
    "cond_stage_model.model.": "Stable Diffusion 2",
    "model.diffusion_model.joint_blocks.": "Stable Diffusion 3",
    "lora_": "a LoRA",
}
"""What files are known by whose tensors' names begin so."""
CHANNELS = 4
"""Of the latents that the UNets here are given."""


@dataclass(frozen=True, kw_only=True)
class TowerSizes:
    """Of a text encoder: its blocks', its vocabulary's, and how many places a text has."""

    blocks: TowerConfig
    words: int
    places: int


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Of all networks of a base.

    Attributes:
        unet: Its own.
        towers: Of the text encoders.
        projected: Channels of what the second encoder says of a whole prompt; 0 for none.
    """

    unet: UnetConfig
    towers: Mapping[str, TowerSizes]
    projected: int = 0


@dataclass(frozen=True, kw_only=True)
class Base:
    """The networks of a base, loaded.

    Attributes:
        unet: It.
        text: The text encoder.
        text_2: The second one of Stable Diffusion XL, which is larger.
        projection: From what that makes of a whole prompt to what the UNet is told of it.
        sizes: Of all.
    """

    unet: UNet2DConditionModel
    text: ClipText
    text_2: ClipText | None
    projection: nn.Linear | None
    sizes: Sizes


def identify(shapes: Mapping[str, Shape]) -> str:
    """Return the name of what a checkpoint holds, a `Generation`'s value where it is of one."""
    first = shapes.get(f"{UNET}input_blocks.0.0.weight")
    if first is not None and "v_pred" in shapes:
        return "a model of v-prediction"
    if first is not None and first[1:2] == (9,):
        return "a model for inpainting"
    if first is not None and first[1:2] != (CHANNELS,):
        return f"a model whose first layer has the shape {first}"
    for start, kind in OTHERS.items():
        if any(name.startswith(start) for name in shapes):
            return kind
    if first is not None and f"{TEXT}final_layer_norm.weight" in shapes:
        return Generation.SD15
    return f"something else: it holds {', '.join(list(shapes)[:3])}, ..."


def load_base(
    path: Path, generation: Generation, place: Place, *, sizes: Sizes | None = None
) -> Base:
    """Load UNet and text encoders strictly.

    Args:
        path: A checkpoint of all networks, or the UNet's file in a folder of diffusers' layout,
            beside whose folder those of the text encoders lie.
        generation: What it must be.
        place: Makes the final tensors.
        sizes: What it must have; by default what it has.

    Raises:
        WeightsError: The file is missing, damaged, or of another model; it says what was found.
    """
    if path.parent.name == "unet":
        return _base(*_load_folder(path, generation, place))
    with open_base(path, generation) as checkpoint:
        sizes = sizes or read_sizes(checkpoint.shapes, generation)
        networks = build_base(sizes)
        maps = {prefix: (f"{name}.", unchanged) for name, prefix in TOWERS[generation].items()}
        projection = {PROJECTION: ("projection.weight", unchanged)}
        unet = {UNET: ("unet.", ldm.unet(sizes.unet.resnets))}
        keymap = by_prefix({**projection, **unet, **maps})
        assign(networks, checkpoint, place=place, keymap=keymap, ignorable=UNUSED)
    return _base(networks, sizes)


def _base(networks: nn.ModuleDict, sizes: Sizes) -> Base:
    parts: dict[str, Any] = dict(networks.eval().items())
    return Base(
        unet=parts["unet"],
        text=parts["text"],
        text_2=parts.get("text_2"),
        projection=parts.get("projection"),
        sizes=sizes,
    )


@contextmanager
def open_base(path: Path, generation: Generation) -> Iterator[Checkpoint]:
    """Open a checkpoint, and refuse one of another model by its name.

    Raises:
        WeightsError: It is missing, damaged, or of another model.
    """
    with open_checkpoint(path) as checkpoint:
        found = identify(checkpoint.shapes)
        if found != generation:
            raise WeightsError(f"{path} is no checkpoint of {generation}, but {found}")
        yield Apart(checkpoint, WIDE) if generation is Generation.SDXL else checkpoint


def read_sizes(shapes: Mapping[str, Shape], generation: Generation) -> Sizes:
    """Read the sizes of all networks.

    Raises:
        WeightsError: A tensor that tells a size is missing.
    """
    try:
        return Sizes(
            unet=read_unet_config(shapes, UNET, heads=HEADS[generation]),
            towers={
                name: _tower_sizes(shapes, prefix, quick=prefix != WIDE)
                for name, prefix in TOWERS[generation].items()
            },
            projected=shapes[PROJECTION][0] if generation is Generation.SDXL else 0,
        )
    except (KeyError, ValueError) as exc:
        raise WeightsError(f"this is no {generation}: {exc} is missing") from exc


def _tower_sizes(shapes: Mapping[str, Shape], prefix: str, *, quick: bool) -> TowerSizes:
    return TowerSizes(
        blocks=read_tower(shapes, prefix, quick=quick),
        words=shapes[f"{prefix}embeddings.token_embedding.weight"][0],
        places=shapes[f"{prefix}embeddings.position_embedding.weight"][0],
    )


def build_base(sizes: Sizes) -> nn.ModuleDict:
    """Build all networks, without memory."""
    with torch.device("meta"):
        networks = nn.ModuleDict({"unet": build_unet(sizes.unet)})
        for name, tower in sizes.towers.items():
            networks[name] = ClipText(tower.blocks, words=tower.words, places=tower.places)
        if sizes.projected:
            width = sizes.towers["text_2"].blocks.width
            networks["projection"] = nn.Linear(width, sizes.projected, bias=False)
    return networks


def _load_folder(unet: Path, generation: Generation, place: Place) -> tuple[nn.ModuleDict, Sizes]:
    """Load a base whose networks lie in folders, as diffusers writes them."""
    with ExitStack() as files:
        checkpoint = files.enter_context(open_checkpoint(unet))
        towers = {
            name: files.enter_context(open_checkpoint(_text_file(unet.parents[1] / FOLDERS[name])))
            for name in TOWERS[generation]
        }
        sizes = _read_folder_sizes(checkpoint, towers, generation)
        networks = build_base(sizes)
        assign(networks["unet"], checkpoint, place=place)
        for name, tower in towers.items():
            parts = {name, "projection"} if name == "text_2" else {name}
            own = nn.ModuleDict({each: networks[each] for each in sorted(parts)})
            keymap = rename(((UNPREFIXED, f"{name}."), PROJECTED))
            assign(own, tower, place=place, keymap=keymap, ignorable=UNUSED)
    return networks, sizes


def _text_file(folder: Path) -> Path:
    found = next((folder / name for name in TEXT_FILES if (folder / name).is_file()), None)
    if found is None:
        raise WeightsError(f"{folder} lacks {' or '.join(TEXT_FILES)}, a text encoder of the base")
    return found


def _read_folder_sizes(
    unet: Checkpoint, towers: Mapping[str, Checkpoint], generation: Generation
) -> Sizes:
    """Read the sizes of all networks, which must be of one another."""
    keymap = rename(((UNPREFIXED, ""),))
    shapes = {
        name: {keymap(each): shape for each, shape in tower.shapes.items()}
        for name, tower in towers.items()
    }
    config = read_modern_unet_config(unet.shapes, heads=HEADS[generation])
    try:
        sizes = Sizes(
            unet=config,
            towers={
                name: _tower_sizes(each, "", quick=name != "text_2")
                for name, each in shapes.items()
            },
            projected=shapes["text_2"]["text_projection.weight"][0] if "text_2" in shapes else 0,
        )
    except (KeyError, ValueError) as exc:
        raise WeightsError(f"beside {unet.path} is no {generation}: {exc} is missing") from exc
    told = sum(tower.blocks.width for tower in sizes.towers.values())
    if (config.in_channels, config.context_width) != (CHANNELS, told):
        raise WeightsError(
            f"{unet.path} is of no {generation}: it reads {config.in_channels} channels of a "
            f"latent and {config.context_width} of a prompt, not {CHANNELS} and {told}"
        )
    return sizes
