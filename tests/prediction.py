"""Peak memory and arithmetic of real sizes on a device that isn't there.

Tensors are fake: they have a shape, a dtype and a device, "cuda" or "cpu", and no bytes; operations
on them compute shapes. So a mix of devices or a wrong shape fails as it would on the device. What a
kernel takes inside (workspace, fragmentation) isn't seen, so figures got here are called
*predicted*. Attention counts as one operation that holds no scores.
"""

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from models.tiling import moments

DEVICE = torch.device("cpu")
HOST = torch.device("meta")


class Prediction(TorchDispatchMode):
    """Counts bytes that are alive, on each kind of device, and floating point operations.

    Attributes:
        live: Bytes now, by kind of device.
        peak: The most there were.
        flops: Multiplications and additions, two for each pair of a matrix product.
        moved: Bytes that were copied from one kind of device to another.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: Counter[str] = Counter()
        self.peak: Counter[str] = Counter()
        self.flops = 0
        self.moved = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation.namespace == "aten" and operation.overloadpacket not in flop_registry:
            with self:
                parts = operation.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        out = operation(*args, **(kwargs or {}))
        if counter := flop_registry.get(operation.overloadpacket):
            self.flops += counter(*args, **(kwargs or {}), out_val=out)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._keep(tensor)
        self._count_move(operation, args, out)
        return out

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Stand in for a fused attention."""
        *batch, rows, width = query.shape
        pairs = rows * key.shape[-2]
        self.flops += 2 * pairs * (width + value.shape[-1]) * torch.Size(batch).numel()
        return query.new_empty((*batch, rows, value.shape[-1]))

    def _keep(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            return
        kind, size = tensor.device.type, storage.nbytes()
        self._known.add(key)
        self.live[kind] += size
        self.peak[kind] = max(self.peak[kind], self.live[kind])
        weakref.finalize(storage, self._release, key, kind, size)

    def _release(self, key: int, kind: str, size: int) -> None:
        self._known.discard(key)
        self.live[kind] -= size

    def _count_move(self, operation: Any, args: tuple[Any, ...], out: Any) -> None:
        """Count `.to(device)` and `copy_` between two devices."""
        name = operation.overloadpacket
        if name not in {torch.ops.aten._to_copy, torch.ops.aten.copy_}:
            return
        source = args[0] if name is torch.ops.aten._to_copy else args[1]
        if source.device.type != out.device.type:
            self.moved += source.nbytes


class _Attention(TorchFunctionMode):
    """Sends every scaled dot product attention to a prediction, whole."""

    def __init__(self, prediction: Prediction) -> None:
        super().__init__()
        self._prediction = prediction

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is nn.functional.scaled_dot_product_attention:
            return self._prediction.attend(*args[:3])
        return function(*args, **(kwargs or {}))


@contextmanager
def predicting() -> Iterator[Prediction]:
    """Have tensors be fake, and count them, for the length of a block."""
    prediction = Prediction()
    with (
        # What "cpu" stands for here is a GPU, which takes this way.
        patch.object(moments, "_by_channel", moments._by_group),
        FakeTensorMode(allow_non_fake_inputs=False),
        torch.inference_mode(),
        _Attention(prediction),
        prediction,
    ):
        yield prediction


def built(make: Callable[[], nn.Module], dtype: torch.dtype) -> nn.Module:
    """Build a network on the meta device, to be placed by `place` later."""
    with torch.device("meta"):
        return make().to(dtype).eval().requires_grad_(requires_grad=False)


def place(network: nn.Module, device: torch.device) -> nn.Module:
    """Give a network fake weights on a device; call it within `predicting`."""
    for module in network.modules():
        for name, tensor in module.named_parameters(recurse=False):
            fake = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
            module._parameters[name] = nn.Parameter(fake, requires_grad=False)
    return network
