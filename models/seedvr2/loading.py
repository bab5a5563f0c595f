"""From published files to networks: which tensor goes where, and what each file has to hold."""

from collections.abc import Mapping
from pathlib import Path

import torch

from models.checkpoint.keymaps import ATTENTION
from models.checkpoint.manifest import LocalWeights
from models.checkpoint.open import open_checkpoint
from models.checkpoint.strict import Place, assign, onto
from models.eight_bit import Narrow, Narrowing, keep_fp8, to_int8
from models.errors import WeightsError
from models.placement import stream_blocks
from models.seedvr2.config import Flavour, read_dit_config, read_vae_config
from models.seedvr2.dit import Dit
from models.seedvr2.folding import fold, published_shapes
from models.seedvr2.options import Offload, SeedVr2Options, Weights
from models.seedvr2.prompt import read_prompt
from models.seedvr2.restorer import Restorer
from models.seedvr2.schema import Variant
from models.seedvr2.vae import Vae

ROTARY = (r"blocks\.\d+\.attn\.rope\.rope\.freqs",)
"""Frequencies, computed anew: files of reduced precision have rounded them to uselessness."""

DEFAULT = SeedVr2Options()

NARROW: Mapping[Weights, Narrow | None] = {
    Weights.WIDE: None,
    Weights.FP8: keep_fp8,
    Weights.INT8: to_int8,
}


def load_restorer(
    weights: LocalWeights,
    *,
    options: SeedVr2Options = DEFAULT,
    device: torch.device,
    dtype: torch.dtype,
) -> Restorer:
    """Load both networks and the prompt.

    Args:
        weights: The files of the parts "dit" and "vae".
        options: Where the transformer's blocks lie, and how narrow its weights are.
        device: Where everything else lies, and all is computed.
        dtype: Of both networks.

    Raises:
        WeightsError: A file is missing or damaged, or its tensors are not those of the network.
    """
    streamed = options.offload is Offload.BLOCKS
    dit = load_dit(
        weights.files["dit"],
        Variant(weights.variant),
        onto("cpu" if streamed else device, dtype),
        narrow=NARROW[options.weights],
    )
    if streamed:
        stream_blocks(dit, list(dit.blocks), device)
    return Restorer(
        dit=dit,
        vae=load_vae(weights.files["vae"], onto(device, dtype)),
        prompt=read_prompt().to(device, dtype),
    )


def load_vae(path: Path, place: Place) -> Vae:
    """Load the autoencoder; kernels are folded in float32 as they come.

    Raises:
        WeightsError: The file is missing, damaged, or of another network.
    """
    with open_checkpoint(path) as checkpoint:
        config = read_vae_config(checkpoint.shapes)
        with torch.device("meta"):
            vae = Vae(config)
        assign(
            vae,
            checkpoint,
            place=place,
            published=published_shapes(vae),
            convert=fold,
            keymap=ATTENTION,
        )
    # What cuDNN's and oneDNN's convolutions are quickest in; the features follow the weights.
    return vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def load_dit(path: Path, variant: Variant, place: Place, *, narrow: Narrow | None = None) -> Dit:
    """Load the transformer, with the weights of linear layers in 8 bits if `narrow` says how.

    Raises:
        WeightsError: The file is missing, damaged, or of another network: its tensors tell the 3B
            from the 7B, whatever its name. Nothing but its name tells the 7B from the sharp one.
    """
    with open_checkpoint(path) as checkpoint:
        config = read_dit_config(checkpoint.shapes)
        if (config.flavour is Flavour.B3) != (variant is Variant.B3):
            raise WeightsError(
                f"{path} is called {variant.value}, and its tensors are those of the "
                f"{config.flavour.value}; pull it again, or give it its own name"
            )
        with torch.device("meta"):
            dit = Dit(config)
        if narrow is None:
            assign(dit, checkpoint, place=place, ignorable=ROTARY)
        else:
            narrowing = Narrowing(dit, place, narrow, within="blocks")
            assign(dit, checkpoint, place=narrowing.place, ignorable=ROTARY)
            if not narrowing.finish(dit):
                message = (
                    f"{path} holds no weights in fp8; pull the file that has them, "
                    "or choose int8 or wide as the option weights"
                )
                raise WeightsError(message)
    return dit
