"""Linear layers whose weights are held in 8 bits and widened for each call.

That halves what a network of 16 bits takes; it saves no time.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from models.checkpoint.strict import Place
from models.errors import WeightsError

MOST = 127
"""The largest magnitude that a weight is rounded to; -128 stays unused, so that signs are alike."""


class EightBitLinear(nn.Module):
    """A linear layer with an 8-bit weight.

    Attributes:
        weight: `(outputs, inputs)`, int8 or float8.
        scale: `(outputs,)` float32, what a step of int8 is worth; None where the weight is its
            own value.
        bias: `(outputs,)` in the dtype that is computed in, or None.
    """

    weight: Tensor
    scale: Tensor | None
    bias: Tensor | None

    def __init__(self, weight: Tensor, scale: Tensor | None, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("scale", scale)
        self.register_buffer("bias", bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return `(..., outputs)` for `(..., inputs)`, in the dtype of `tokens`."""
        weight, bias = self.weight.to(tokens.dtype), self.bias
        if self.scale is None:
            return linear(tokens, weight, bias)
        # After the product: int8 is exact in bfloat16, its product with a scale is not.
        out = linear(tokens, weight) * self.scale.to(tokens.dtype)
        return out if bias is None else out + bias


class Narrowing:
    """Places a checkpoint's tensors with linear weights in 8 bits, then changes the layers.

    The network is never held wide: each tensor is narrowed as it is read.
    """

    def __init__(self, network: nn.Module, place: Place, narrow: "Narrow", *, within: str) -> None:
        """Choose the layers.

        Args:
            network: Whose linear layers are meant; on the meta device.
            place: Of all other tensors.
            narrow: See `keep_fp8` and `to_int8`.
            within: The part of the network whose layers are meant.
        """
        self._layers = {
            f"{within}.{name}": layer
            for name, layer in network.get_submodule(within).named_modules()
            if type(layer) is nn.Linear
        }
        self._place = place
        self._narrow = narrow
        self._scales: dict[str, Tensor | None] = {}

    def place(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor of the network as it will be held; for `assign`."""
        layer, _, leaf = name.rpartition(".")
        narrowed = self._narrow(tensor) if leaf == "weight" and layer in self._layers else None
        if narrowed is None:
            return self._place(name, tensor)
        weight, scale = narrowed
        if scale is not None and not scale.isfinite().all():
            raise WeightsError(f"{name} holds NaN or infinity; pull the file again")
        like = self._place(name, tensor[:0])  # says which device; the place decides that, not we
        self._scales[layer] = None if scale is None else scale.to(like.device)
        return weight.to(like.device, copy=True)

    def finish(self, network: nn.Module) -> int:
        """Have the layers whose weights were narrowed compute with them; return their number."""
        for name, scale in self._scales.items():
            layer = self._layers[name]
            bias = None if layer.bias is None else layer.bias.data
            network.set_submodule(name, EightBitLinear(layer.weight.data, scale, bias))
        return len(self._scales)


Narrow = Callable[[Tensor], tuple[Tensor, Tensor | None] | None]
"""Returns an 8-bit weight and its scale; None for a weight that stays wide."""


def keep_fp8(weight: Tensor) -> tuple[Tensor, None] | None:
    """Keep what is published in 8 bits; such files are plain casts, without scales."""
    return (weight, None) if weight.dtype == torch.float8_e4m3fn else None


def to_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row to 255 steps, symmetrically about zero, up to its largest magnitude."""
    wide = weight.float()
    scale = wide.abs().amax(1).clamp(min=torch.finfo(torch.float32).tiny) / MOST
    return (wide / scale[:, None]).round().to(torch.int8), scale
