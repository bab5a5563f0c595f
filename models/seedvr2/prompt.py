"""The text that every picture is restored under, embedded long ago: no text encoder is needed.

`prompt.safetensors` holds the values of `pos_emb.pt` of github.com/ByteDance-Seed/SeedVR. Copyright
2025 Bytedance Ltd. and/or its affiliates, licensed under the Apache License, Version 2.0, of which
the LICENSE file of this project is a copy.
"""

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

FILE = Path(__file__).with_name("prompt.safetensors")


def read_prompt() -> Tensor:
    """Return the `(58, 5120)` bfloat16 embedding."""
    return load_file(FILE)["pos_emb"]
