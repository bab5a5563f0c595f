"""Assigns a checkpoint's tensors to a module that was built without memory, and nothing else.

The module comes from the meta device. Tensors are read, converted and placed one by one, so that at
no moment more is held than the module at its own dtype and one tensor as it was published.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from models.checkpoint.keymaps import Keymap, unchanged
from models.checkpoint.open import Checkpoint, Shape
from models.errors import WeightsError

SHOWN = 5
"""How many names an error lists of each kind."""

Convert: TypeAlias = Callable[[Tensor, Shape], Tensor]
Place: TypeAlias = Callable[[str, Tensor], Tensor]


def onto(device: str | torch.device, dtype: torch.dtype) -> Place:
    """Return what puts every tensor on one device, floating ones in one dtype.

    A copy is made in any case: a tensor that stays mapped from its file would change, or take the
    process down, with the file.
    """

    def place(_name: str, tensor: Tensor) -> Tensor:
        kind = dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(device, kind, copy=True)

    return place


def keep_shape(tensor: Tensor, _shape: Shape) -> Tensor:
    """Convert nothing."""
    return tensor


def assign(
    module: nn.Module,
    checkpoint: Checkpoint,
    *,
    place: Place,
    published: Mapping[str, Shape] | None = None,
    convert: Convert = keep_shape,
    keymap: Keymap = unchanged,
    ignorable: Sequence[str] = (),
) -> None:
    """Give every parameter and persistent buffer of a module its tensor from a checkpoint.

    Args:
        module: Built on the meta device; holds real tensors afterwards, which need no gradient.
        checkpoint: Open.
        place: Makes the final tensor of a converted one: its device and dtype; see `onto`.
        published: The shapes that the checkpoint must have, by the module's names; the module's own
            where they are not given.
        convert: From a published tensor to the shape of the module's.
        keymap: From the checkpoint's names to the module's.
        ignorable: Regular expressions of the checkpoint's names that nobody needs, matched whole.

    Raises:
        WeightsError: A tensor is missing, unknown, of another shape, or not finite; it names them.
    """
    own = {name: tuple(tensor.shape) for name, tensor in _slots(module)}
    needed = {**own, **(published or {})}
    sources = _sources(checkpoint, keymap, ignorable)
    _compare(checkpoint, sources, needed)
    for name, source in sources.items():
        tensor = place(name, convert(checkpoint.read(source), own[name]))
        if not _is_finite(tensor):
            message = f"{checkpoint.path}: {source} holds NaN or infinity; pull the file again"
            raise WeightsError(message)
        _set(module, name, tensor)


def _slots(module: nn.Module) -> Iterable[tuple[str, Tensor]]:
    """Yield what a state dict of the module would hold."""
    yield from module.named_parameters()
    persistent = module.state_dict(keep_vars=True).keys()
    yield from ((name, each) for name, each in module.named_buffers() if name in persistent)


def _sources(checkpoint: Checkpoint, keymap: Keymap, ignorable: Sequence[str]) -> dict[str, str]:
    """Return the checkpoint's name for each of the module's, without those that nobody needs."""
    spare = re.compile("|".join(f"(?:{pattern})" for pattern in ignorable)) if ignorable else None
    names = [each for each in checkpoint.shapes if spare is None or not spare.fullmatch(each)]
    sources = {keymap(name): name for name in names}
    if len(sources) < len(names):
        twice = sorted(set(names) - set(sources.values()))
        raise WeightsError(f"{checkpoint.path}: {_listed(twice)} have the same meaning as others")
    return sources


def _compare(
    checkpoint: Checkpoint, sources: Mapping[str, str], needed: Mapping[str, Shape]
) -> None:
    """Refuse a checkpoint that is not exactly what is needed.

    Raises:
        WeightsError: It says what is missing, unexpected, and of the wrong shape.
    """
    missing = sorted(set(needed) - set(sources))
    unexpected = sorted(sources[name] for name in set(sources) - set(needed))
    misshapen = [
        f"{source} {checkpoint.shapes[source]} instead of {needed[name]}"
        for name, source in sources.items()
        if name in needed and checkpoint.shapes[source] != needed[name]
    ]
    faults = [
        f"{len(found)} {what}: {_listed(found)}"
        for what, found in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", misshapen),
        )
        if found
    ]
    if faults:
        raise WeightsError(f"{checkpoint.path} does not fit the network: {'; '.join(faults)}")


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _is_finite(tensor: Tensor) -> bool:
    """Tell whether a placed tensor holds numbers only; eight-bit floats have a NaN as well.

    By the extremes, which a NaN or infinity becomes: `isfinite` would take memory for a copy.
    """
    if not tensor.is_floating_point() or tensor.is_meta or not tensor.numel():
        return True
    wide = tensor.to(torch.float16) if tensor.element_size() == 1 else tensor
    least, most = torch.aminmax(wide)
    return bool(least.isfinite() and most.isfinite())


def _set(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Put a tensor in the place of a parameter or a buffer."""
    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    if leaf in owner._parameters:
        owner.register_parameter(leaf, nn.Parameter(tensor, requires_grad=False))
    else:
        owner.register_buffer(leaf, tensor)
