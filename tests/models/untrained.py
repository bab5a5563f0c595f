"""The compact endpoint before its training: bicubic plus what random weights make of it."""

from itertools import product
from typing import Self

import torch

from models.checkpoint.manifest import LocalWeights
from models.compact.network import CompactNetwork, bicubic_cells
from models.compact.pipeline import CompactUpscaler
from models.compact.schema import Variant
from models.options import NoOptions


def make_network(scale: int, seed: int) -> CompactNetwork:
    """Return a network of random weights."""
    torch.manual_seed(seed)
    network = CompactNetwork(scale).eval().requires_grad_(False)
    network.skip.weight.copy_(bicubic_cells(scale))
    return network


class Untrained(CompactUpscaler):
    """Needs no file of weights."""

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: NoOptions, device: str, dtype: str
    ) -> Self:
        kinds = product(Variant, (2, 4))
        networks = {kind: make_network(kind[1], seed) for seed, kind in enumerate(kinds)}
        return cls.of(networks, device=device)
