"""Textual inversions: learnt token vectors, in every layout that such files come in."""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from models.checkpoint.open import is_inflated
from models.errors import WeightsError

MOST_VECTORS = 75
"""A chunk has no room for more."""
TOWERS = {"clip_l": "text", "clip_g": "text_2"}
"""SDXL's names of its two text encoders, and ours; the others have one, "text"."""


@dataclass(frozen=True, kw_only=True)
class InversionFile:
    """What one file holds.

    Attributes:
        names: The words that trigger it: the file's own, and those written in it.
        vectors: `(n, width)` float32 for each text encoder: "text", and in SDXL "text_2".
    """

    names: tuple[str, ...]
    vectors: Mapping[str, Tensor]


def read_inversion(
    path: Path, widths: Mapping[str, int], *, name: str | None = None
) -> InversionFile:
    """Read a file of the web UI (`.pt`), of diffusers (`.bin`) or in safetensors.

    Args:
        path: The file; pickles are read by torch's weights-only unpickler.
        widths: Of the tokens of each text encoder.
        name: What triggers it; the file's name without suffix by default.

    Raises:
        WeightsError: It is damaged, of another kind, or made for another model; it says which.
    """
    found = _read(path)
    own = (name or path.stem, *_names_within(found))
    tensors = {TOWERS.get(key, "text"): each for key, each in _tensors(path, found).items()}
    vectors = {tower: _rows(each) for tower, each in tensors.items()}
    sizes = {tower: each.shape[1] for tower, each in vectors.items()}
    if sizes != dict(widths):
        raise WeightsError(
            f"{path.name} holds vectors of {sizes}, made for another model; this one reads "
            f"{dict(widths)}"
        )
    longest = max(len(each) for each in vectors.values())
    if not 1 <= longest <= MOST_VECTORS:
        raise WeightsError(f"{path.name} holds {longest} vectors; 1 to {MOST_VECTORS} have room")
    if not all(each.isfinite().all() for each in vectors.values()):
        raise WeightsError(f"{path.name} holds NaN or infinity; get it again")
    return InversionFile(names=tuple(dict.fromkeys(own)), vectors=vectors)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        # The web UI pickles its tensors in a module of parameters, which holds no code.
        with torch.serialization.safe_globals([nn.ParameterDict]):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, OSError, RuntimeError, EOFError) as exc:
        raise WeightsError(f"{path.name} is damaged, or holds more than tensors: {exc}") from exc
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path.name} holds {type(found).__name__}, not tensors by name")
    return found


def _tensors(path: Path, found: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the file's tensors: one, or SDXL's two."""
    inner = found.get("string_to_param", found)
    tensors = {str(key): each for key, each in inner.items() if isinstance(each, Tensor)}
    if any(is_inflated(each) for each in tensors.values()):
        raise WeightsError(f"{path.name} says that it holds more numbers than it does")
    if set(tensors) == set(TOWERS) or len(tensors) == 1:
        return {key: each.detach().float() for key, each in tensors.items()}
    listed = ", ".join(sorted(tensors)[:5]) or "no tensor"
    raise WeightsError(f"{path.name} is no textual inversion: it holds {listed}")


def _rows(vectors: Tensor) -> Tensor:
    return vectors if vectors.ndim == 2 else vectors.reshape(1, -1)


def _names_within(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names in a file: the web UI's field, or the only key of diffusers'."""
    if "string_to_param" in found:
        return tuple(each for each in (found.get("name"),) if isinstance(each, str) and each)
    keys = [key for key in found if key not in ("emb_params", *TOWERS)]
    return (keys[0],) if len(found) == 1 and keys else ()
