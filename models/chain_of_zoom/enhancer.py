"""The core of Chain-of-Zoom: a step of super-resolution, from a picture and noise to a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor

from models.diffusion.autoencoder import Runner, Tick, ignore
from models.placement import resting_place
from models.tiling import vae as seamless
from models.tiling.autoencoder import decoder_steps, encoder_steps, resting_bytes
from models.tiling.boxes import Span
from models.tiling.fuse import Box, Fusion, side_bell, spans
from models.tiling.vae import Floor

CELL = 8
"""Pixels along each side of a latent cell."""
SCALING = 1.5305
"""Of latents, of the autoencoder of Stable Diffusion 3."""
DECODE_SHIFT = 0.0609
"""Added before decoding and never taken off after encoding: the published pictures were made so.
The adapter learnt with both, so that to "repair" this would move every latent by 0.09."""
TIMESTEP = 1000.0
"""Of the only step: from noise level 1 to 0."""
LEAST, MOST = -30.0, 20.0
"""Of the logarithm of a posterior's variance."""


LEAST_TILE = 32
"""Cells along a tile's side, however often tiles are halved; less shows too little to go by."""


class Tiles(NamedTuple):
    """How a large latent is parted.

    Attributes:
        whole: The longest side of a latent that is one tile, in cells.
        side: Of a tile of a larger one.
        overlap: Cells that neighbours share.
    """

    whole: int = 128
    side: int = 64
    overlap: int = 16

    def divided(self, divisor: int) -> "Tiles":
        """Return smaller ones, for a device that had no room: 1 changes nothing."""
        if divisor == 1:
            return self
        side = max(self.whole // divisor, LEAST_TILE)
        return Tiles(side, min(self.side, side), min(self.overlap, side // 4))


WIDE = Tiles()


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """An embedded prompt.

    Attributes:
        tokens: `(1, n, text_width)`.
        pooled: `(1, pooled_width)`.
    """

    tokens: Tensor
    pooled: Tensor


@dataclass(frozen=True, kw_only=True)
class Enhancer:
    """The networks; unchanged by any picture.

    Attributes:
        transformer: Of Stable Diffusion 3, with its adapter merged.
        vae: The adapted encoder and the published decoder; float32.
        running: How the autoencoder's tiles are run; by default with the untiled result.
        tiles: How large latents are parted.
    """

    transformer: SD3Transformer2DModel
    vae: AutoencoderKL
    running: Runner = seamless.run
    tiles: Tiles = WIDE

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        return next(self.vae.parameters()).device

    @property
    def cells(self) -> int:
        """Channels of a latent."""
        return int(self.vae.config["latent_channels"])

    def encode(self, pixels: Tensor, noise: Tensor, *, tile: int, tick: Tick = ignore) -> Tensor:
        """Draw a latent from a picture's posterior.

        Args:
            pixels: `(1, 3, 8 * h, 8 * w)` in [-1, 1], float32; h and w are even.
            noise: `(1, 16, h, w)`.
            tile: The longest side that is worked on at once, in pixels.
            tick: Called before each part of each layer; may raise to stop.

        Returns:
            `(1, 16, h, w)` float32, scaled.
        """
        mean, spread = self.posterior(pixels, tile=tile, tick=tick)
        return (mean + (spread / 2).exp() * noise.to(mean)) * SCALING

    def posterior(self, pixels: Tensor, *, tile: int, tick: Tick = ignore) -> tuple[Tensor, Tensor]:
        """Return the mean, and the logarithm of the variance, of a picture's latent."""
        encoder = self.vae.encoder
        floor = self._floor(resting_bytes(encoder, pixels[:, 0].numel(), pixels.dtype), tile, tick)
        moments = self.running(encoder_steps(encoder), pixels, floor).to(pixels.device)
        mean, spread = moments.chunk(2, dim=1)
        return mean, spread.clamp(LEAST, MOST)

    def enhance(self, latent: Tensor, prompts: Sequence[Prompt], *, tick: Tick = ignore) -> Tensor:
        """Take the step from what was encoded to what is decoded.

        Args:
            latent: From `encode`.
            prompts: One for all, or one for each of the tiles of `lay_out`.
            tick: Called before each call of the transformer; may raise to stop.
        """
        boxes = self.lay_out(*latent.shape[2:])
        weights = side_bell(boxes[0].rows.length, boxes[0].columns.length)
        fusion = Fusion(weights.float().to(latent.device), *latent.shape[2:])
        for number, box in enumerate(boxes):
            tick()
            prompt = prompts[number % len(prompts)]
            part = box.cut(latent)
            fusion.add([box], part - self.velocity(part, prompt))
        return fusion.mean()

    def lay_out(self, height: int, width: int) -> tuple[Box, ...]:
        """Return the tiles of a latent: itself, unless it is too large to be one."""
        if max(height, width) <= self.tiles.whole:
            return (Box(Span(0, height), Span(0, width)),)
        rows, columns = (self._spans(length) for length in (height, width))
        return tuple(Box(*both) for both in product(rows, columns))

    def _spans(self, length: int) -> list[Span]:
        side = min(self.tiles.side, length)
        return spans(length, side, max(side - self.tiles.overlap, 1))

    def velocity(self, latent: Tensor, prompt: Prompt) -> Tensor:
        """Predict the way from a latent to its better form, float32."""
        dtype = self.transformer.dtype
        (velocity,) = self.transformer(
            latent.to(dtype),
            prompt.tokens.to(dtype),
            prompt.pooled.to(dtype),
            torch.full((len(latent),), TIMESTEP, device=latent.device),
            return_dict=False,
        )
        return velocity.float()

    def decode(self, latent: Tensor, *, tile: int, tick: Tick = ignore) -> Tensor:
        """Return the picture of a latent, `(1, 3, 8 * h, 8 * w)`, roughly in [-1, 1]."""
        decoder = self.vae.decoder
        cells = latent / SCALING + DECODE_SHIFT
        pixels = latent[:, 0].numel() * CELL**2
        floor = self._floor(resting_bytes(decoder, pixels, latent.dtype), tile, tick)
        return self.running(decoder_steps(decoder), cells, floor).to(latent.device)

    def _floor(self, resting: int, tile: int, tick: Tick) -> Floor:
        rest = resting_place(resting, self.device)
        return Floor(device=self.device, rest=rest, tile=tile, tick=tick)
