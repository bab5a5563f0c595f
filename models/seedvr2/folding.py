"""A video autoencoder's kernels, folded to those of an image autoencoder.

An image is a video of one frame. Causal convolutions see the first frame again in place of those
before it, so all slices of a kernel over time meet the same frame, and their sum is a kernel in two
dimensions that gives the same. Upsampling in time makes two frames of the first and drops the
second, so half of its rows are never needed.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Folded(nn.Conv2d):
    """A convolution over an image whose published kernel spans several frames too."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        *,
        depth: int | None = None,
        frames: int = 1,
        stride: int = 1,
        padding: int = 0,
    ) -> None:
        """Make a convolution.

        Args:
            inputs: Channels in.
            outputs: Channels out, for one frame.
            kernel: Pixels along each side.
            depth: Frames that the published kernel spans; as many as `kernel` by default.
            frames: Frames that the published kernel makes of one; their rows follow each other
                within each sub-pixel.
            stride: Pixels.
            padding: Pixels of zeros on each side.
        """
        super().__init__(inputs, outputs, kernel, stride=stride, padding=padding)
        self.depth = kernel if depth is None else depth
        self.frames = frames

    def published_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of weight and bias in a checkpoint."""
        outputs, inputs, height, width = self.weight.shape
        rows = outputs * self.frames
        return {"weight": (rows, inputs, self.depth, height, width), "bias": (rows,)}


def published_shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape in a checkpoint of every parameter of `module`, by its name there."""
    shapes = {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
    for prefix, part in module.named_modules():
        if isinstance(part, Folded):
            for name, shape in part.published_shapes().items():
                shapes[f"{prefix}.{name}"] = shape
    return shapes


def fold(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Fold a published weight or bias to what works on an image.

    Args:
        tensor: As published: `(rows, inputs, depth, height, width)` or `(rows,)`, or already of the
            right shape.
        shape: Of the parameter. Fewer rows than the tensor has mean that these make several frames
            of each of the 2 x 2 sub-pixels, and that the first frame is kept.

    Returns:
        A tensor of `shape`; sums are taken in float32.
    """
    if tensor.ndim == 5:
        # Not a cast of the result: a float16 sum of three loses what the network was trained with.
        tensor = tensor.sum(2, dtype=torch.float32)
    frames = tensor.shape[0] // shape[0]
    if frames > 1:
        tensor = tensor.unflatten(0, (4, frames, -1))[:, 0].flatten(0, 1)
    return tensor
