"""Stable Diffusion 1.5 and XL from published files, with an autoencoder and a ControlNet."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.controlnets.controlnet import ControlNetModel
from torch import Tensor, nn

from models.checkpoint import ldm
from models.checkpoint.keymaps import Keymap, by_prefix, unchanged
from models.checkpoint.open import Checkpoint, open_checkpoint
from models.checkpoint.strict import Place, assign, onto
from models.diffusion.autoencoder import (
    SCALING,
    Autoencoder,
    Tick,
    VaeConfig,
    build_vae,
    ignore,
    read_vae_config,
)
from models.diffusion.bases import HEADS, Generation, Sizes, load_base
from models.diffusion.clip import ClipText
from models.diffusion.compiled import Shapes
from models.diffusion.unet import (
    Steered,
    build_controlnet,
    read_modern_unet_config,
    read_unet_config,
)
from models.errors import WeightsError
from models.image import Pixels, from_tensor

Network = TypeVar("Network", bound=nn.Module)

CONTROLNET = "control_model."
VAE_UNUSED = (r"loss\..*", r"model_ema\..*")
OWN_VAE = "first_stage_model."
"""In a checkpoint of all networks."""
SCALINGS = {Generation.SD15: SCALING, Generation.SDXL: 0.13025}
"""What brings latents to a deviation of about 1, by what the autoencoder was trained for
(`scaling_factor` in the published configurations)."""


@dataclass(frozen=True, kw_only=True)
class StableDiffusion:
    """The networks, unchanged by any picture.

    Attributes:
        steered: The UNet and its ControlNet.
        text: The text encoder.
        autoencoder: Of latents.
        sizes: Of the UNet and the text encoders.
        generation: Which Stable Diffusion it is.
        text_2: The second text encoder of Stable Diffusion XL, a larger one.
        projection: From what that one makes of a whole prompt to what the UNet is told of it.
    """

    steered: Steered
    text: ClipText
    autoencoder: Autoencoder
    sizes: Sizes
    generation: Generation = Generation.SD15
    text_2: ClipText | None = None
    projection: nn.Linear | None = None

    @property
    def device(self) -> torch.device:
        """Where they compute."""
        return self.steered.unet.device

    def adaptable(self) -> Mapping[str, nn.Module]:
        """Return the networks that LoRAs change, by the names that those use."""
        return {"unet": self.steered.unet, **self.towers()}

    def networks(self) -> Sequence[nn.Module]:
        """Return all that have weights."""
        whole = [self.steered, self.text, self.text_2, self.projection, self.autoencoder.vae]
        return [each for each in whole if each is not None]

    def towers(self) -> Mapping[str, ClipText]:
        """Return the text encoders, by the names that LoRAs and textual inversions use."""
        return {"text": self.text, **({"text_2": self.text_2} if self.text_2 is not None else {})}

    def encode(self, pixels: Pixels, *, tile: int, tick: Tick = ignore) -> Tensor:
        """Return the latent of a picture, `(1, 4, h, w)` float32; see `Autoencoder.encode`.

        Args:
            pixels: `(8 * h, 8 * w, 3)` uint8.
            tile: The longest side of what is worked on at once, in pixels.
            tick: Called before each tile of each layer; may raise to stop.
        """
        there = torch.from_numpy(pixels.copy()).to(self.device)
        signed = there.permute(2, 0, 1)[None].float() / 127.5 - 1
        return self.autoencoder.encode(signed, tile=tile, tick=tick)

    def decode(self, latent: Tensor, *, tile: int, tick: Tick = ignore) -> Pixels:
        """Return the picture of a latent, as `encode` takes it.

        Raises:
            NotFinite: A value is no number.
        """
        decoded = self.autoencoder.decode(latent, tile=tile, tick=tick)
        return from_tensor(decoded[0] / 2 + 0.5, truncated=True)


@dataclass(frozen=True, kw_only=True)
class Files:
    """What a model is made of.

    Attributes:
        base: See `models.diffusion.bases.load_base`.
        vae: An autoencoder in the original names.
        controlnet: For tiles, in the original layout or diffusers'; None for none.
    """

    base: Path
    vae: Path
    controlnet: Path | None


def load_stable_diffusion(
    files: Files,
    *,
    device: str,
    dtype: torch.dtype,
    generation: Generation = Generation.SD15,
    compiled: Shapes | None = None,
) -> StableDiffusion:
    """Load the networks strictly.

    Args:
        files: All of them.
        device: Where they compute.
        dtype: Of their weights. The autoencoder of XL overflows in float16, and has float32 then.
        generation: What the base must be.
        compiled: The shapes that UNet and ControlNet are compiled for.

    Raises:
        WeightsError: A file is missing, damaged, or of another model; it says what was found.
        CompilerMissing: Networks are to be compiled, and can't be here.
    """
    place = onto(device, dtype)
    base = load_base(files.base, generation, place)
    controlnet = _load_controlnet(files.controlnet, generation, place) if files.controlnet else None
    vae = _load_vae(files.vae, onto(device, vae_dtype(generation, dtype)))
    return StableDiffusion(
        steered=Steered(
            fast(base.unet), fast(controlnet) if controlnet else None, compiled=compiled
        ).eval(),
        text=base.text,
        autoencoder=Autoencoder(vae=fast(vae), scaling=SCALINGS[generation]),
        text_2=base.text_2,
        projection=base.projection,
        sizes=base.sizes,
        generation=generation,
    )


def rebased(model: StableDiffusion, path: Path, *, dtype: torch.dtype) -> StableDiffusion:
    """Load another base of the same sizes, with its own autoencoder if it has one.

    The ControlNet, and the autoencoder otherwise, are those of the model, which is not changed.

    Raises:
        WeightsError: It is damaged, or does not fit.
    """
    generation = model.generation
    place = onto(model.device, dtype)
    base = load_base(path, generation, place, sizes=model.sizes)
    autoencoder = model.autoencoder
    own = _own_vae(path, model, onto(model.device, vae_dtype(generation, dtype)))
    if own is not None:
        autoencoder = Autoencoder(vae=fast(own), scaling=autoencoder.scaling)
    return replace(
        model,
        steered=model.steered.around(fast(base.unet)),
        text=base.text,
        autoencoder=autoencoder,
        text_2=base.text_2,
        projection=base.projection,
    )


def vae_dtype(generation: Generation, dtype: torch.dtype) -> torch.dtype:
    """Return what an autoencoder computes in, where the other networks have `dtype`."""
    narrow = generation is Generation.SDXL and dtype is torch.float16
    return torch.float32 if narrow else dtype


def fast(network: Network) -> Network:
    """Lay weights out as the convolutions of cuDNN and oneDNN are quickest with."""
    return network.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]


def _load_controlnet(path: Path, generation: Generation, place: Place) -> ControlNetModel:
    heads = HEADS[generation]
    with open_checkpoint(path) as checkpoint:
        keymap: Keymap = unchanged
        if any(name.startswith(CONTROLNET) for name in checkpoint.shapes):
            config = read_unet_config(checkpoint.shapes, CONTROLNET, heads=heads)
            names = ldm.unet(ldm.resnets(checkpoint.shapes, CONTROLNET))
            keymap = by_prefix({CONTROLNET: ("", names)})
        else:
            config = read_modern_unet_config(checkpoint.shapes, heads=heads)
        if not config.hint_channels:
            raise WeightsError(f"{path} is a ControlNet, but none for hints of pixels")
        with torch.device("meta"):
            network = build_controlnet(config)
        assign(network, checkpoint, place=place, keymap=keymap)
    return network


def _load_vae(path: Path, place: Place) -> AutoencoderKL:
    with open_checkpoint(path) as checkpoint:
        network = _build_vae(read_vae_config(checkpoint.shapes, ""))
        keymap = ldm.autoencoder(_levels(network))
        _assign_vae(network, checkpoint, place, keymap, VAE_UNUSED)
    return network


def _own_vae(base: Path, model: StableDiffusion, place: Place) -> AutoencoderKL | None:
    """Load the autoencoder in a base's file; None where it has none."""
    with open_checkpoint(base) as checkpoint:
        if not any(name.startswith(OWN_VAE) for name in checkpoint.shapes):
            return None
        with torch.device("meta"):
            network: AutoencoderKL = AutoencoderKL.from_config(model.autoencoder.vae.config)
        keymap = by_prefix({OWN_VAE: ("", ldm.autoencoder(_levels(network)))})
        _assign_vae(network, checkpoint, place, keymap, (rf"(?!{re.escape(OWN_VAE)}).*",))
    return network


def _build_vae(config: VaeConfig) -> AutoencoderKL:
    with torch.device("meta"):
        return build_vae(config)


def _levels(network: Any) -> int:  # noqa: ANN401 - diffusers' own, known when it runs
    return len(network.config.block_out_channels)


def _assign_vae(
    network: nn.Module,
    checkpoint: Checkpoint,
    place: Place,
    keymap: Keymap,
    ignorable: Sequence[str],
) -> None:
    assign(
        network,
        checkpoint,
        place=place,
        published=ldm.published_shapes(network.named_parameters()),
        convert=Tensor.reshape,
        keymap=keymap,
        ignorable=ignorable,
    )
