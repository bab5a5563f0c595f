"""A reference case: one file of weights, inputs, intermediate and final values.

Most are safetensors; what is no numbers at all, such as prompts, is JSON.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import Tensor

Tensors = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a file holds, by the first part of the tensors' names, which is left off.

    Attributes:
        name: The file's name without suffix; its beginning says what kind of case it is.
        config: The `config` of the file's header.
    """

    name: str
    config: dict[str, Any]
    weights: Tensors
    inputs: Tensors
    intermediate: Tensors
    outputs: Tensors
    other: Tensors

    @classmethod
    def read(cls, path: Path) -> "Case":
        """Read a whole file, and the weights of those that its header names; cases are small.

        One of JSON is a `config` and nothing else.
        """
        parts: dict[str, Tensors] = {
            part: {} for part in ("weights", "inputs", "intermediate", "outputs", "other")
        }
        if path.suffix == ".json":
            return cls(name=path.stem, config=json.loads(path.read_text()), **parts)
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            for name in file.keys():  # noqa: SIM118 - no mapping
                part, _, rest = name.partition("/")
                tensors, key = (parts[part], rest) if part in parts else (parts["other"], name)
                tensors[key] = file.get_tensor(name)
        for shared in json.loads(header.get("weights_from", "[]")):
            parts["weights"] |= cls.read(path.with_name(shared)).weights
        return cls(name=path.stem, config=json.loads(header.get("config", "{}")), **parts)

    def below(self, prefix: str) -> Tensors:
        """Return the weights under `prefix`, which is left off."""
        start = f"{prefix}/"
        return {
            name.removeprefix(start): tensor
            for name, tensor in self.weights.items()
            if name.startswith(start)
        }
