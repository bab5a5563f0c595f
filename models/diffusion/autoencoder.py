"""The autoencoder of Stable Diffusion, by the sizes of a checkpoint, and run in tiles."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor, nn

from models.checkpoint.open import Shape
from models.diffusion.unet import GROUPS
from models.errors import WeightsError
from models.placement import resting_place
from models.tiling.autoencoder import decoder_steps, encoder_steps, resting_bytes
from models.tiling.steps import Step
from models.tiling.vae import Floor, run

CELL = 8
"""Pixels along each side of a latent cell."""

SCALING = 0.18215
"""Brings latents to a deviation of about 1 (Rombach et al. 2022), but for those of XL."""


FIRST_LEVEL = re.compile(r"encoder\.down\.0\.block\.\d+\.conv1\.weight")
"""The names that there is one of for each resnet of a level."""


@dataclass(frozen=True, kw_only=True)
class VaeConfig:
    """The sizes of an autoencoder.

    Attributes:
        channels: Of each level, from the pixels inwards; each further level halves the sides.
        resnets: In each level of the encoder; the decoder has one more.
        groups: Of every group normalisation.
        cells: Channels of a latent.
        quantised: Whether a convolution stands between either network and the latent.
    """

    channels: tuple[int, ...] = (128, 256, 512, 512)
    resnets: int = 2
    groups: int = GROUPS
    cells: int = 4
    quantised: bool = True


def read_vae_config(shapes: Mapping[str, Shape], prefix: str, *, groups: int = GROUPS) -> VaeConfig:
    """Read the sizes of an autoencoder from its encoder, in the original names.

    Raises:
        WeightsError: A tensor that tells a size is missing.
    """
    down = f"{prefix}encoder.down."
    numbers = {name[len(down) :].split(".")[0] for name in shapes if name.startswith(down)}
    firsts = [f"{down}{level}.block.0.conv1.weight" for level in range(max(len(numbers), 1))]
    missing = [name for name in firsts if name not in shapes]
    if missing:
        raise WeightsError(f"no autoencoder is under {prefix}: {missing[0]} is missing")
    return VaeConfig(
        channels=tuple(shapes[name][0] for name in firsts),
        resnets=len([name for name in shapes if FIRST_LEVEL.fullmatch(name.removeprefix(prefix))]),
        groups=groups,
    )


def build_vae(config: VaeConfig) -> AutoencoderKL:
    """Build an autoencoder with unset weights; on the meta device it takes no memory."""
    levels = len(config.channels)
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=config.channels,
        layers_per_block=config.resnets,
        norm_num_groups=config.groups,
        latent_channels=config.cells,
        use_quant_conv=config.quantised,
        use_post_quant_conv=config.quantised,
        scaling_factor=SCALING,
    )


def ignore(*_: object) -> None:
    """Take note of nothing."""


Tick: TypeAlias = Callable[[], None]
"""Called before each tile of each layer; may raise to stop."""

Runner: TypeAlias = Callable[[Sequence[Step], Tensor, Floor], Tensor]
"""Takes a picture through an autoencoder's steps, tile by tile."""


@dataclass(frozen=True, kw_only=True)
class Autoencoder:
    """Pixels in [-1, 1] to scaled latents and back, in bounded memory.

    Attributes:
        vae: The networks.
        decoding: How the decoder's tiles are run; by default with the untiled result.
        scaling: Brings its latents to a deviation of about 1.
    """

    vae: AutoencoderKL
    decoding: Runner = run
    scaling: float = SCALING

    def encode(self, pixels: Tensor, *, tile: int, tick: Tick = ignore) -> Tensor:
        """Return the mean of the latent, scaled.

        Args:
            pixels: `(b, 3, 8 * h, 8 * w)` in [-1, 1], any float type.
            tile: The longest side of what is worked on at once, in pixels.
            tick: Called before each tile of each layer; may raise to stop.

        Returns:
            `(b, 4, h, w)` float32.
        """
        encoder, whole = self.vae.encoder, pixels[:, 0].numel()
        floor = self._floor(encoder, whole, tile, tick)
        moments = run(encoder_steps(encoder), pixels.to(self._dtype), floor).to(pixels.device)
        return self.vae.quant_conv(moments).float().chunk(2, dim=1)[0] * self.scaling

    def decode(self, latent: Tensor, *, tile: int, tick: Tick = ignore) -> Tensor:
        """Return pixels, roughly in [-1, 1].

        Args:
            latent: `(b, 4, h, w)`, scaled, any float type.
            tile: The longest side of what is worked on at once, in pixels.
            tick: Called before each tile of each layer; may raise to stop.

        Returns:
            `(b, 3, 8 * h, 8 * w)` float32.
        """
        decoder, whole = self.vae.decoder, latent[:, 0].numel() * CELL**2
        cells = self.vae.post_quant_conv((latent / self.scaling).to(self._dtype))
        floor = self._floor(decoder, whole, tile, tick)
        return self.decoding(decoder_steps(decoder), cells, floor).to(latent.device).float()

    @property
    def _weight(self) -> Tensor:
        return self.vae.post_quant_conv.weight

    @property
    def _dtype(self) -> torch.dtype:
        return self._weight.dtype

    def _floor(self, coder: nn.Module, pixels: int, tile: int, tick: Tick) -> Floor:
        device = self._weight.device
        rest = resting_place(resting_bytes(coder, pixels, self._dtype), device)
        return Floor(device=device, rest=rest, tile=tile, tick=tick)
