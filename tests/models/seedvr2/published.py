"""The published checkpoints: every tensor's name and shape."""

import gzip
import json
from pathlib import Path

KEYS = Path(__file__).parents[2] / "data" / "seedvr2" / "keys.json.gz"


def published(file: str) -> dict[str, tuple[int, ...]]:
    """Return the shapes of `seedvr2_ema_3b`, `seedvr2_ema_7b` or `ema_vae`."""
    with gzip.open(KEYS) as keys:
        return {name: tuple(shape) for name, (shape, _) in json.load(keys)[file].items()}
