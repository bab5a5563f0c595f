"""The networks, from weights in the published names."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.ccsr import loading
from models.ccsr.restorer import Restorer
from models.checkpoint.open import Checkpoint
from models.checkpoint.strict import onto
from models.diffusion.autoencoder import Autoencoder, Runner, build_vae, read_vae_config
from models.diffusion.text import OpenClipText, read_open_clip_config
from models.diffusion.unet import Controlled, build_controlnet, build_unet, read_unet_config
from models.tiling.vae import run
from tests.goldens.case import Case, Tensors
from tests.goldens.comparison import EXACT, Comparison, Tolerance, compare

FLOATS = Tolerance(absolute=1e-4)
PLACE = onto("cpu", torch.float32)
PROMPT = "empty_prompt_embedding"


class InMemory:
    """Tensors of a case as a checkpoint."""

    def __init__(self, tensors: Tensors) -> None:
        self.path = Path("case")
        self.shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        self.dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
        self.read = tensors.__getitem__


def build(case: Case) -> nn.ModuleDict:
    """Load those networks that a case has weights of."""
    checkpoint = InMemory({name: each for name, each in case.weights.items() if name != PROMPT})
    networks = build_some(checkpoint, _model(case.config))
    loading.assign_published(networks, checkpoint, PLACE)
    return networks


def build_some(checkpoint: Checkpoint, model: Mapping[str, Any]) -> nn.ModuleDict:
    """Build networks in upstream's sizes, which tensors tell but for heads and groups."""
    shapes, groups = checkpoint.shapes, model["norm_num_groups"]
    sizes = {"head_width": _head_width(model), "groups": groups}
    networks = nn.ModuleDict()
    with torch.device("meta"):
        if _has(checkpoint, loading.UNET):
            networks["unet"] = build_unet(read_unet_config(shapes, loading.UNET, **sizes))
        if _has(checkpoint, loading.CONTROLNET):
            config = read_unet_config(shapes, loading.CONTROLNET, **sizes)
            networks["controlnet"] = build_controlnet(config)
        if _has(checkpoint, loading.CONDITION_ENCODER):
            config = read_vae_config(shapes, loading.CONDITION_ENCODER, groups=groups)
            networks["vae"] = build_vae(config)
    return networks.eval()


def _has(checkpoint: Checkpoint, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in checkpoint.shapes)


def _model(config: dict[str, Any]) -> dict[str, Any]:
    return config.get("model", config)


def _head_width(model: Mapping[str, Any]) -> int:
    return model["unet_config"]["params"]["num_head_channels"]


def build_restorer(case: Case, decoding: Runner = run) -> Restorer:
    """Build the core of a case."""
    networks = build(case)
    return Restorer(
        controlled=Controlled(networks["unet"], networks["controlnet"]),
        autoencoder=Autoencoder(vae=networks["vae"], decoding=decoding),
        prompt=case.weights[PROMPT],
    )


def check_weights(case: Case) -> Iterator[Comparison]:
    """Load the weights that other cases share, and count what was given a place."""
    networks = build(case)
    unused = sum(
        name.startswith(("first_stage_model.encoder.", "first_stage_model.quant_conv."))
        or name == PROMPT
        for name in case.weights
    )
    placed = torch.tensor(sum(1 for _ in networks.parameters()))
    yield compare("tensors", placed, torch.tensor(len(case.weights) - unused), EXACT)


def check_unet(case: Case) -> Iterator[Comparison]:
    """Predict once, and look at what the ControlNet adds."""
    networks = build(case)
    latent, timesteps, context, hint = (
        case.inputs[name] for name in ("x", "timesteps", "context", "hint")
    )
    down, middle = networks["controlnet"](
        torch.cat([latent, hint], dim=1), timesteps, context, hint, return_dict=False
    )
    for name, residual in zip(sorted(case.intermediate), (*down, middle), strict=True):
        yield compare(name, residual, case.intermediate[name], FLOATS)
    scale = case.config.get("control_scale", 1.0)
    values = {
        "eps": _predict(networks["unet"], case, [each * scale for each in down], middle * scale),
        "eps_no_control": _predict(networks["unet"], case, None, None),
    }
    if scale == 1:
        controlled = Controlled(networks["unet"], networks["controlnet"])
        values["eps"] = controlled(latent, timesteps, context, hint)
    for name, expected in case.outputs.items():
        yield compare(name, values[name], expected, FLOATS)


def _predict(
    unet: nn.Module, case: Case, down: list[Tensor] | None, middle: Tensor | None
) -> Tensor:
    (noise,) = unet(
        case.inputs["x"],
        case.inputs["timesteps"],
        case.inputs["context"],
        down_block_additional_residuals=down,
        mid_block_additional_residual=middle,
        return_dict=False,
    )
    return noise


def check_text(case: Case) -> Iterator[Comparison]:
    """Embed the empty prompt."""
    checkpoint = InMemory(case.weights)
    width = case.config["width"] // case.config["heads"]
    config = read_open_clip_config(checkpoint.shapes, loading.TEXT, head_width=width)
    with torch.device("meta"):
        networks = nn.ModuleDict({"text": OpenClipText(config)}).eval()
    loading.assign_published(networks, checkpoint, PLACE)
    embedding = networks["text"].embed_nothing()
    yield compare("embedding", embedding, case.outputs["embedding"], FLOATS)
