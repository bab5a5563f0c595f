"""LoRAs merged into weights."""

from collections.abc import Iterator

from torch import nn

from models.diffusion.lora import Adapted, Weighted, parse
from tests.goldens.case import Case
from tests.goldens.clarity.networks import InMemory
from tests.goldens.comparison import Comparison, Tolerance, compare

FLOAT32 = Tolerance(absolute=1e-6, relative=1e-6)
NETWORKS = {"unet": "unet.", "text": "text_model."}


class Bare(nn.Module):
    """Modules that have a weight each, wherever its name says."""

    def __init__(self, weights: dict) -> None:
        super().__init__()
        for name, tensor in weights.items():
            module: nn.Module = self
            *path, leaf = name.split(".")
            for part in path:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module.get_submodule(part)
            module.register_parameter(leaf, nn.Parameter(tensor.clone()))


def check_lora(case: Case) -> Iterator[Comparison]:
    """Merge a LoRA for as long as a context lasts; behind it, the weights are what they were."""
    networks = {
        name: Bare(
            {
                key.removeprefix(prefix): tensor
                for key, tensor in case.weights.items()
                if key.startswith(prefix)
            }
        )
        for name, prefix in NETWORKS.items()
    }
    tensors = {
        name.removeprefix("lora/"): tensor
        for name, tensor in case.inputs.items()
        if name.startswith("lora/")
    }
    weighted = Weighted(
        lora=parse(InMemory(tensors), case.name),
        unet=case.config["unet_multiplier"],
        text=case.config["text_multiplier"],
    )
    adapted = Adapted(networks)
    with adapted.also([weighted]):
        for name, expected in case.outputs.items():
            yield compare(name, _weight(networks, name), expected, FLOAT32)
    for name, expected in case.weights.items():
        yield compare(f"{name}, taken off", _weight(networks, name), expected, Tolerance())


def _weight(networks: dict, name: str):
    network, prefix = next(each for each in NETWORKS.items() if name.startswith(each[1]))
    return networks[network].get_parameter(name.removeprefix(prefix)).detach().clone()
