"""The network as it runs: plain 3 x 3 convolutions at the input's resolution, then PixelShuffle.

Training widens every convolution with parallel linear branches (`training.branches`) and folds them
before the weights are stored, as in ECBSR (Zhang et al. 2021); nothing of that is left here. There
is no pooling and no attention over the picture, so what a pixel becomes depends on `radius` input
pixels around it and on nothing else: tiles with that much context equal the whole.
"""

from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import load
from torch import Tensor, nn

from models.errors import WeightsError

CHANNELS = 48
DEPTH = 7
"""Hidden convolutions. At x2 about 300 kFLOP an input pixel: 1.5 megapixels of output a second take
half of what two cores of 2023 reach in matrix products."""
SLOPE = 0.1
"""Of the leaky rectifiers' negative side."""


class CompactNetwork(nn.Module):
    """Enlarges RGB by 2 or 4: the bicubic picture plus what the convolutions add to it."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.head = nn.Conv2d(3, CHANNELS, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(DEPTH))
        self.tail = nn.Conv2d(CHANNELS, 3 * scale**2, 3, padding=1)
        self.skip = nn.Conv2d(3, 3 * scale**2, 5, padding=2, groups=3, bias=False)

    @property
    def radius(self) -> int:
        """How far an output pixel sees, in input pixels along each axis."""
        return DEPTH + 2

    def forward(self, pixels: Tensor) -> Tensor:
        """Enlarge a batch.

        Args:
            pixels: `(b, 3, h, w)` RGB in [0, 1]; what lies beyond the border counts as black, so
                give `radius` pixels of context and cut them off the result.

        Returns:
            `(b, 3, h * scale, w * scale)`, not clipped.
        """
        features = nn.functional.leaky_relu_(self.head(pixels), SLOPE)
        for layer in self.body:
            features = nn.functional.leaky_relu_(layer(features), SLOPE)
        cells = self.tail(features) + self.skip(pixels)
        return nn.functional.pixel_shuffle(cells, self.scale)


def read(variant: str, scale: int) -> CompactNetwork:
    """Return the network of the package's own weights, float32 on the CPU.

    Args:
        variant: "photo" or "clean".
        scale: 2 or 4.

    Raises:
        WeightsError: The package's file is damaged.
    """
    data = resources.files("models.compact").joinpath(f"weights/{variant}_x{scale}.safetensors")
    return parse(data.read_bytes(), scale)


def parse(data: bytes, scale: int) -> CompactNetwork:
    """Return the network of a file of weights in memory.

    Raises:
        WeightsError: It is no such file.
    """
    network = CompactNetwork(scale)
    try:
        tensors = {name: tensor.float() for name, tensor in load(data).items()}
        network.load_state_dict(tensors)
    except Exception as exc:
        message = f"the weights of enlarger/compact x{scale} are damaged: {exc}; install it anew"
        raise WeightsError(message) from exc
    return network.eval().requires_grad_(False)


def folder() -> Path:
    """Return where the package keeps its weights, for training to write to."""
    return Path(__file__).parent / "weights"


def bicubic_cells(scale: int) -> Tensor:
    """Return `skip`'s kernel that makes it Keys' bicubic interpolation (a = -0.5).

    Returns:
        `(3 * scale**2, 1, 5, 5)`: for each colour the cell's pixels, row by row.
    """
    positions = torch.arange(-2.0, 3.0)
    offsets = (torch.arange(scale) + 0.5) / scale - 0.5
    distances = (positions[None, :] - offsets[:, None]).abs()
    near = 1.5 * distances**3 - 2.5 * distances**2 + 1
    far = -0.5 * distances**3 + 2.5 * distances**2 - 4 * distances + 2
    taps = torch.where(distances <= 1, near, torch.where(distances < 2, far, torch.zeros(())))
    kernel = taps[:, None, :, None] * taps[None, :, None, :]
    return kernel.reshape(scale**2, 1, 5, 5).repeat(3, 1, 1, 1)
