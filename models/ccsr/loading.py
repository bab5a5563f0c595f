"""From a published file, which holds all networks, to networks: which tensor goes where."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models.ccsr.options import CcsrOptions, TiledVae
from models.ccsr.restorer import Restorer
from models.checkpoint import ldm
from models.checkpoint.keymaps import Keymap, by_prefix
from models.checkpoint.open import Checkpoint, Shape, open_checkpoint
from models.checkpoint.strict import Place, assign, onto
from models.diffusion.autoencoder import Autoencoder, build_vae, read_vae_config
from models.diffusion.compiled import Shapes
from models.diffusion.text import OpenClipText, read_open_clip_config
from models.diffusion.unet import (
    Controlled,
    build_controlnet,
    build_unet,
    read_unet_config,
)
from models.tiling import pooled

UNET = "model.diffusion_model."
CONTROLNET = "control_model."
AUTOENCODER = "first_stage_model."
CONDITION_ENCODER = "cond_encoder."
"""The encoder that reads the source; it was kept as it was when the decoder was tuned."""
TEXT = "cond_stage_model.model."

COMPILED = Shapes(height=128, width=128, batch=2)
"""What the default tiles come in, and smaller pictures as a whole."""

UNUSED = (
    r"first_stage_model\.(encoder|quant_conv)\..*",  # the condition encoder does their work
    r"cond_stage_model\.model\.(text_projection|logit_scale)",
    r"decoder_loss\..*",  # of training
    # The schedule, computed anew: files of reduced precision have rounded it.
    r"(betas|logvar|\w*alphas_cumprod\w*|posterior_\w+)(_inter)?",
)
"""Names of tensors that inference has no use for."""


def load_restorer(
    path: Path, *, options: CcsrOptions, device: torch.device, dtype: torch.dtype
) -> Restorer:
    """Load the networks, and embed the empty prompt once, after which its encoder is gone.

    Args:
        path: Any of the published files.
        options: How the decoder runs in tiles, and whether networks are compiled.
        device: Where the networks compute.
        dtype: Of their weights.

    Raises:
        WeightsError: The file is missing or damaged, or its tensors are not those of CCSR.
        CompilerMissing: Networks are to be compiled, and can't be here.
    """
    with open_checkpoint(path) as checkpoint:
        networks = build(checkpoint.shapes)
        assign_published(networks, checkpoint, _apart(onto(device, dtype)))
    text = networks.pop("text")
    assert isinstance(text, OpenClipText), "build() made it"
    prompt = text.embed_nothing()
    # What cuDNN's and oneDNN's convolutions are quickest in; the features follow the weights.
    networks = networks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    upstream = options.tiled_vae is TiledVae.UPSTREAM
    vae = networks["vae"]
    return Restorer(
        controlled=Controlled(
            networks["unet"],
            networks["controlnet"],
            compiled=COMPILED if options.compiled else None,
        ).eval(),
        autoencoder=Autoencoder(vae=vae, decoding=pooled.run) if upstream else Autoencoder(vae=vae),
        prompt=prompt.to(device, dtype),
    )


def build(shapes: Mapping[str, Shape]) -> nn.ModuleDict:
    """Build all networks of a file, without memory.

    Raises:
        WeightsError: Tensors that tell the sizes are missing.
    """
    with torch.device("meta"):
        return nn.ModuleDict(
            {
                "unet": build_unet(read_unet_config(shapes, UNET)),
                "controlnet": build_controlnet(read_unet_config(shapes, CONTROLNET)),
                "vae": build_vae(read_vae_config(shapes, CONDITION_ENCODER)),
                "text": OpenClipText(read_open_clip_config(shapes, TEXT)),
            }
        ).eval()


def assign_published(networks: nn.ModuleDict, checkpoint: Checkpoint, place: Place) -> None:
    """Give networks their tensors, strictly.

    Args:
        networks: Some of "unet", "controlnet", "vae" and "text", on the meta device. The "vae" is
            made of the condition encoder and the tuned decoder.
        checkpoint: Holds these and no others.
        place: Makes the final tensors.

    Raises:
        WeightsError: A tensor is missing, unknown or of another shape.
    """
    published = ldm.published_shapes(
        each for each in networks.named_parameters() if each[0].startswith("vae.")
    )
    assign(
        networks,
        checkpoint,
        place=place,
        published=published,
        convert=Tensor.reshape,
        keymap=_keymap(networks),
        ignorable=_unused(networks),
    )


def _keymap(networks: nn.ModuleDict) -> Keymap:
    """Return the map from all published names to those of the networks."""
    maps: dict[str, tuple[str, Keymap]] = {TEXT: ("text.", ldm.OPEN_CLIP)}
    for part, prefix in (("unet", UNET), ("controlnet", CONTROLNET)):
        if part in networks:
            maps[prefix] = (f"{part}.", ldm.unet(_sizes(networks[part]).layers_per_block))
    if "vae" in networks:
        levels = len(_sizes(networks["vae"]).block_out_channels)
        for prefix in (AUTOENCODER, CONDITION_ENCODER):
            maps[prefix] = ("vae.", ldm.autoencoder(levels))
    return by_prefix(maps)


def _sizes(network: nn.Module) -> Any:  # noqa: ANN401 - diffusers' own, known when it runs
    return network.config


def _unused(networks: nn.ModuleDict) -> Sequence[str]:
    """Return patterns of what stays in the file; Stable Diffusion 2 reads no last block of text."""
    if "text" not in networks:
        return UNUSED
    used = len([*networks.get_submodule("text.blocks.layers").children()])
    return *UNUSED, re.escape(f"{TEXT}transformer.resblocks.{used}.") + ".*"


def _apart(place: Place) -> Place:
    """Return a place that has the text tower, which is used only once, on the CPU in float32."""
    once = onto("cpu", torch.float32)
    return lambda name, tensor: (once if name.startswith("text.") else place)(name, tensor)
