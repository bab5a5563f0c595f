"""The network that enlarges by 4, alone and in tiles."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.esrgan.loading import fill
from models.esrgan.network import RrdbNet
from models.esrgan.pipeline import EsrganUpscaler
from tests.goldens.case import Case, Tensors
from tests.goldens.comparison import Comparison, Tolerance, compare, skip

FLOAT32 = Tolerance(absolute=1e-5)
LEVEL = Tolerance(absolute=1)


@dataclass
class InMemory:
    """A case's weights as an open checkpoint."""

    tensors: Tensors
    path: Path = Path("case")

    @property
    def dtypes(self) -> dict[str, torch.dtype]:
        return {name: tensor.dtype for name, tensor in self.tensors.items()}

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def read(self, name: str) -> Tensor:
        return self.tensors[name]


def _network(case: Case) -> RrdbNet:
    return fill(InMemory(case.weights), device="cpu", dtype=torch.float32)


def check_rrdbnet(case: Case) -> Iterator[Comparison]:
    """Enlarge a batch."""
    yield compare("y", _network(case)(case.inputs["x"]), case.outputs["y"], FLOAT32)


def check_tiled_network(case: Case) -> Iterator[Comparison]:
    """Enlarge a picture tile by tile, and resize it to the sides that were wanted."""
    upscaler = EsrganUpscaler(network=_network(case), device="cpu", dtype=torch.float32)
    made = upscaler.enlarge(
        case.inputs["image_rgb"].numpy(), tile=case.config["tile"], overlap=case.config["overlap"]
    )
    yield compare(
        "x4_model_fed_rgb", torch.from_numpy(made.copy()), case.outputs["x4_model_fed_rgb"], LEVEL
    )
    expected = case.outputs["scaled_model_fed_rgb"]
    size = (expected.shape[1], expected.shape[0])
    resized = np.array(Image.fromarray(made).resize(size, Image.Resampling.LANCZOS))
    yield compare("scaled_model_fed_rgb", torch.from_numpy(resized), expected, LEVEL)
    yield skip("x4_model_fed_bgr", "networks of this family learnt from RGB")
