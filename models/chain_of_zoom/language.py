"""The network that looks at frames and names what they show: Qwen2.5-VL, with its adapter merged.

The library's own loader would take the adapter of 2025 for one of other layers, since those have
been renamed, and say so in a warning only: pictures would be made without it.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers.generation.configuration_utils import GenerationConfig
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLForConditionalGeneration

from models.checkpoint.keymaps import rename
from models.checkpoint.open import Checkpoint, open_checkpoint
from models.checkpoint.shards import open_shards
from models.checkpoint.strict import SHOWN, Place, assign
from models.errors import WeightsError

SCALE = 4.0
"""Of the adapter: its alpha of 32 by its rank of 8, both of its `adapter_config.json`."""
ADAPTED = (
    *(f"self_attn.{each}_proj" for each in "qkvo"),
    *(f"mlp.{each}_proj" for each in ("gate", "up", "down")),
)
"""The layers of each block that the adapter changes, in the language model alone."""
BLOCK = "model.language_model.layers."
CURRENT = rename(
    ((r"^visual\.", "model.visual."), (r"^model\.(?!language_model\.|visual\.)", BLOCK[:-7]))
)
"""From the names that the files were published with to those of today's library."""
PEFT = "base_model.model."
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
TIED = (r"lm_head\.weight",)
"""What some files hold a second time, where the output layer is the embedding itself."""


class Change(NamedTuple):
    """What is added to a layer's weight: `SCALE` times the product of `up` and `down`."""

    up: Tensor
    down: Tensor

    def added_to(self, weight: Tensor) -> Tensor:
        """Return the changed weight, float32."""
        return weight.float() + SCALE * (self.up.float() @ self.down.float())


def read_language_config(path: Path) -> Qwen2_5_VLConfig:
    """Read the published `config.json`.

    Raises:
        WeightsError: It is missing, damaged, or of another model.
    """
    try:
        fields = json.loads(path.read_bytes())
        if fields["model_type"] != "qwen2_5_vl":
            raise WeightsError(f"{path} is of {fields['model_type']}, not of qwen2_5_vl")
        return Qwen2_5_VLConfig.from_dict(fields)
    except WeightsError:
        raise
    except Exception as exc:  # the library has an own error for each kind of field
        reason = f"{type(exc).__name__}: {exc}"
        raise WeightsError(f"{path} is missing or no configuration ({reason})") from exc


def build_language(config: Qwen2_5_VLConfig) -> Qwen2_5_VLForConditionalGeneration:
    """Build the network on the meta device, but for its tables of frequencies, which no file has.

    What a repository says about generating is not followed: the prompter says all of it.
    """
    with torch.device("meta"):
        network = Qwen2_5_VLForConditionalGeneration(config)
    inner = network.model
    inner.visual.rotary_pos_emb = type(inner.visual.rotary_pos_emb)(config.vision_config)
    language = inner.language_model
    language.rotary_emb = type(language.rotary_emb)(config=config.text_config)
    network.generation_config = GenerationConfig()
    return network.eval()


def load_language(
    config: Qwen2_5_VLConfig, shards: Sequence[Path], adapter: Path, *, place: Place
) -> Qwen2_5_VLForConditionalGeneration:
    """Load the network and merge its adapter.

    Args:
        config: From `read_language_config`.
        shards: The files that hold it.
        adapter: As peft saves one, with the names of either time.
        place: Where its tensors go; see `onto`.

    Raises:
        WeightsError: A file is missing, damaged, or does not fit.
    """
    network = build_language(config)
    with open_shards(shards) as weights, open_checkpoint(adapter) as added:
        assign_language(network, weights, read_changes(added), place=place)
    return network


def assign_language(
    network: Qwen2_5_VLForConditionalGeneration,
    weights: Checkpoint,
    changes: Mapping[str, Change],
    *,
    place: Place,
) -> None:
    """Give a network its tensors, changed by an adapter.

    Raises:
        WeightsError: Either does not fit; an adapter must change all of `ADAPTED`, and no more.
    """
    _check_changes(network, changes)

    def changed(name: str, tensor: Tensor) -> Tensor:
        change = changes.get(name.removesuffix(".weight"))
        return place(name, tensor if change is None else change.added_to(tensor))

    tied = network.config.tie_word_embeddings
    ignorable = TIED if tied else ()
    assign(network, weights, place=changed, keymap=CURRENT, ignorable=ignorable)
    network.tie_weights()


def read_changes(adapter: Checkpoint) -> dict[str, Change]:
    """Read an adapter, by the names of its layers today.

    Raises:
        WeightsError: A tensor of it is no half of a change, or the other half is missing.
    """
    layers = {name.removesuffix(DOWN).removesuffix(UP) for name in adapter.shapes}
    halves = {layer + end for layer in layers for end in (DOWN, UP)}
    if halves != set(adapter.shapes):
        odd = sorted(halves ^ set(adapter.shapes))[:SHOWN]
        raise WeightsError(f"{adapter.path} is no adapter of pairs: see {', '.join(odd)}")
    return {
        CURRENT(layer.removeprefix(PEFT)): Change(
            up=adapter.read(layer + UP).clone(), down=adapter.read(layer + DOWN).clone()
        )
        for layer in layers
    }


def _check_changes(network: Any, changes: Mapping[str, Change]) -> None:  # noqa: ANN401
    """Refuse an adapter that would change less than all, or something else.

    Raises:
        WeightsError: It names what is missing, unknown, or of another shape.
    """
    blocks = range(len(network.model.language_model.layers))
    needed = {f"{BLOCK}{number}.{layer}" for number in blocks for layer in ADAPTED}
    odd = sorted(needed ^ set(changes))
    odd += [
        layer
        for layer in sorted(needed & set(changes))
        if not _fits(changes[layer], network.get_submodule(layer).weight)
    ]
    if odd:
        raise WeightsError(
            f"the adapter of the language model changes {len(changes)} layers where {len(needed)} "
            f"are to be changed, or has other shapes; see {', '.join(odd[:SHOWN])}"
        )


def _fits(change: Change, weight: Tensor) -> bool:
    up, down = change
    return (up.shape[0], down.shape[-1]) == weight.shape and up.shape[-1] == down.shape[0]
