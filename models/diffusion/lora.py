"""LoRA and LoCon: small differences to a network's weights, merged and taken back exactly.

A file holds, for each layer that it changes, two small matrices whose product is added to the
weight. Layers are named in kohya's way: `lora_unet_` or `lora_te_` and the module's path with
underscores for dots, in diffusers' names or in those of the first checkpoints.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from models.checkpoint import ldm
from models.checkpoint.open import Checkpoint, open_checkpoint
from models.errors import WeightsError

PREFIXES = {
    "lora_unet_": "unet",
    "lora_te_text_model_": "text",
    "lora_te1_text_model_": "text",
    "lora_te2_text_model_": "text_2",
}
"""Of layers' names, and the network that each is of."""
PARTS = ("alpha", "scale", "lora_down.weight", "lora_up.weight", "lora_mid.weight")
OLD_BLOCK = re.compile(r"^(input|output)_blocks_(\d+)_(\d+)_(.*)$")
OLD_NAMES = re.compile(r"\b(in_layers|out_layers|emb_layers)_(\d)$")
RESNETS = 2
"""In each level of the UNets that such names are used for."""


@dataclass(frozen=True, kw_only=True)
class Delta:
    """What a file says of one layer; what it adds is `scale` times the product of its matrices.

    Attributes:
        down: `(rank, in, ...)`, with the layer's kernel if it is a convolution.
        up: `(out, rank, ...)`.
        mid: `(rank, rank, kh, kw)` of a convolution that was decomposed further; else None.
        scale: alpha / rank, or 1 where the file gives no alpha.
    """

    down: Tensor
    up: Tensor
    mid: Tensor | None
    scale: float

    def fits(self, shape: torch.Size) -> bool:
        """Tell whether it can change a weight of this shape."""
        rank = self.down.shape[0] if self.down.ndim > 1 else 0
        if self.up.ndim < 2 or not rank or self.up.shape[1] != rank:
            return False
        if self.up.shape[0] != shape[0]:
            return False
        if self.mid is None:
            return self.down[0].numel() * self.up[0, 0].numel() == math.prod(shape[1:])
        wanted = (rank, rank, *shape[2:])
        return tuple(self.mid.shape) == wanted and self.down[0].numel() == shape[1]

    def change(self, shape: torch.Size, device: torch.device) -> Tensor:
        """Return what is added to a weight of this shape, float32.

        Raises:
            RuntimeError: The layer has another shape.
        """
        down, up = (each.to(device, torch.float32) for each in (self.down, self.up))
        if self.mid is None:
            change = up.flatten(1) @ down.flatten(1)
        else:
            middle = self.mid.to(device, torch.float32)
            change = torch.einsum("prhw,ri,op->oihw", middle, down.flatten(1), up.flatten(1))
        return change.reshape(shape) * self.scale


@dataclass(frozen=True, kw_only=True)
class Lora:
    """A file's layers, by network ("unet", "text", "text_2") and module, underscores for dots."""

    name: str
    deltas: Mapping[str, Mapping[str, Delta]]


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """A LoRA, and how much of it is added to the UNet and to the text encoders."""

    lora: Lora
    unet: float
    text: float

    def weight(self, network: str) -> float:
        """Return how much of it is added to a network."""
        return self.unet if network == "unet" else self.text


def read_lora(path: Path, *, name: str | None = None) -> Lora:
    """Read a file.

    Raises:
        WeightsError: It is damaged, or no LoRA; it says what was found.
    """
    with open_checkpoint(path) as checkpoint:
        return parse(checkpoint, name or path.stem)


def parse(checkpoint: Checkpoint, name: str) -> Lora:
    """Read an open file.

    Raises:
        WeightsError: Its tensors are no LoRA's.
    """
    layers: dict[str, dict[str, Tensor]] = {}
    for key in checkpoint.shapes:
        layer, _, part = key.partition(".")
        if part not in PARTS:
            raise WeightsError(f"{name} is no LoRA that is known here: it holds {key}")
        layers.setdefault(layer, {})[part] = checkpoint.read(key).clone()
    deltas: dict[str, dict[str, Delta]] = {}
    for layer, parts in layers.items():
        network, module = _place(layer, name)
        deltas.setdefault(network, {})[module] = _delta(parts, layer, name)
    return Lora(name=name, deltas=deltas)


def _place(layer: str, name: str) -> tuple[str, str]:
    for prefix, network in PREFIXES.items():
        if layer.startswith(prefix):
            module = layer.removeprefix(prefix)
            return network, _modern(module) if network == "unet" else module
    raise WeightsError(f"{name}: {layer} is in no network that is known here")


def _modern(module: str) -> str:
    """Return a module of the UNet in diffusers' name."""
    found = OLD_BLOCK.match(module)
    if found is None and not module.startswith("middle_block_"):
        return module
    if found:
        dotted = f"{found[1]}_blocks.{found[2]}.{found[3]}.{found[4]}"
    else:
        dotted = re.sub(r"^middle_block_(\d)_", r"middle_block.\1.", module)
    dotted = OLD_NAMES.sub(r"\1.\2", dotted)
    return ldm.unet(RESNETS)(f"{dotted}.weight").removesuffix(".weight").replace(".", "_")


def _delta(parts: Mapping[str, Tensor], layer: str, name: str) -> Delta:
    if "lora_down.weight" not in parts or "lora_up.weight" not in parts:
        raise WeightsError(f"{name}: {layer} has only {', '.join(sorted(parts))}")
    down = parts["lora_down.weight"]
    if down.ndim < 2 or not len(down):
        raise WeightsError(f"{name}: {layer} has a matrix of the shape {tuple(down.shape)}")
    if any(parts[each].numel() != 1 for each in ("scale", "alpha") if each in parts):
        raise WeightsError(f"{name}: the scale of {layer} is not one number")
    if "scale" in parts:
        scale = float(parts["scale"])
    else:
        scale = float(parts["alpha"]) / down.shape[0] if "alpha" in parts else 1.0
    return Delta(
        down=down, up=parts["lora_up.weight"], mid=parts.get("lora_mid.weight"), scale=scale
    )


def _check_delta(name: str, module: str, delta: Delta, weight: Tensor) -> None:
    if not delta.fits(weight.shape):
        raise WeightsError(
            f"{name}: {module} has the shape {tuple(weight.shape)} here, and another there; a LoRA "
            "made for another kind of model can't be used"
        )
    parts = [each for each in (delta.down, delta.up, delta.mid) if each is not None]
    if not (math.isfinite(delta.scale) and all(each.isfinite().all() for each in parts)):
        raise WeightsError(f"{name}: {module} holds NaN or infinity; get the file again")


class Adapted:
    """Networks with LoRAs in their weights; others come and go without a trace.

    What is merged is always computed anew from the weights as they were loaded, which wait in the
    host's memory, so that nothing accumulates and nothing of a job is left for the next.
    """

    def __init__(self, networks: Mapping[str, nn.Module], always: Sequence[Weighted] = ()) -> None:
        """Merge what always belongs to the networks.

        Args:
            networks: "unet", "text" and so on.
            always: In this order.

        Raises:
            WeightsError: One of them changes a layer that is not there, or of another shape.
        """
        self._modules = {
            name: {path.replace(".", "_"): each for path, each in network.named_modules()}
            for name, network in networks.items()
        }
        self._pristine: dict[tuple[str, str], Tensor] = {}
        self._always = tuple(always)
        self._merge(self._always)

    def fitting(self, lora: Lora) -> tuple[Lora, int]:
        """Return a LoRA without the layers that are not in these networks, and how many those are.

        Raises:
            WeightsError: It has none that are, or one of another shape, or of no numbers.
        """
        deltas: dict[str, dict[str, Delta]] = {}
        spare = 0
        for network, changes in lora.deltas.items():
            if network not in self._modules:
                raise WeightsError(
                    f"{lora.name}: it changes a second text encoder, which this model lacks; a "
                    "LoRA made for another kind of model can't be used"
                )
            for module, delta in changes.items():
                weight = getattr(self._modules[network].get(module), "weight", None)
                if not isinstance(weight, Tensor):
                    spare += 1
                    continue
                _check_delta(lora.name, module, delta, weight)
                deltas.setdefault(network, {})[module] = delta
        if not deltas:
            raise WeightsError(
                f"{lora.name}: none of its {spare} layers is in this model; a LoRA made for "
                "another kind of model can't be used"
            )
        return replace(lora, deltas=deltas), spare

    @contextmanager
    def also(self, more: Sequence[Weighted]) -> Iterator[None]:
        """Merge others behind those that always are there, for as long as the context lasts.

        Raises:
            WeightsError: As above; nothing is changed then.
        """
        if not more:
            yield
            return
        try:
            self._merge((*self._always, *more))
            yield
        finally:
            self._restore()
            self._merge(self._always)

    def _merge(self, loras: Sequence[Weighted]) -> None:
        """Set every layer that one of them changes."""
        touched = [
            (network, module)
            for each in loras
            for network, deltas in each.lora.deltas.items()
            for module in deltas
        ]
        for network, module in dict.fromkeys(touched):
            weight = self._weight(network, module, loras)
            pristine = self._pristine.setdefault((network, module), weight.detach().cpu().clone())
            merged = pristine.to(weight.device, torch.float32)
            for each in loras:
                delta = each.lora.deltas.get(network, {}).get(module)
                if delta is not None and each.weight(network):
                    merged = merged + each.weight(network) * self._change(
                        each, delta, module, weight
                    )
            weight.data.copy_(merged)

    def _restore(self) -> None:
        for (network, module), pristine in self._pristine.items():
            weight = self._modules[network][module].get_parameter("weight")
            weight.data.copy_(pristine)

    def _weight(self, network: str, module: str, loras: Sequence[Weighted]) -> Tensor:
        found = self._modules.get(network, {}).get(module)
        weight = getattr(found, "weight", None)
        if not isinstance(weight, Tensor):
            names = ", ".join(each.lora.name for each in loras)
            raise WeightsError(
                f"{names}: no layer {module} is in the {network} of this model; a LoRA made for "
                "another kind of model can't be used"
            )
        return weight

    @staticmethod
    def _change(each: Weighted, delta: Delta, module: str, weight: Tensor) -> Tensor:
        try:
            return delta.change(weight.shape, weight.device)
        except RuntimeError as exc:
            raise WeightsError(
                f"{each.lora.name}: {module} has the shape {tuple(weight.shape)} here, and another "
                "there; a LoRA made for another kind of model can't be used"
            ) from exc
