"""The core of CCSR: from a prepared picture and a source of noise to pixels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models import colorfix
from models.ccsr.recipe import Recipe
from models.ccsr.sampler import Predict, Walk, descend
from models.ccsr.schema import ColorFix, TileDiffusion
from models.diffusion.autoencoder import CELL, Autoencoder, Tick, ignore
from models.diffusion.noise import Noise
from models.diffusion.unet import Controlled
from models.tiling.fuse import Fusion, Mosaic, bell, cut, uniform, whole, windows

CHANNELS = 4
"""Of a latent."""


@dataclass(frozen=True, kw_only=True)
class Restorer:
    """The networks, and the empty prompt that they work under; unchanged by any picture.

    Pictures are `(1, 3, H, W)` float32 in [0, 1], sides in multiples of 64, and latents
    `(1, 4, H / 8, W / 8)` float32; only networks work in their own dtype.
    """

    controlled: Controlled
    autoencoder: Autoencoder
    prompt: Tensor

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        return self.prompt.device

    def lay_out(self, source: Tensor, recipe: Recipe) -> Mosaic:
        """Return the tiles that the latent of a picture is predicted in."""
        height, width = (side // CELL for side in source.shape[2:])
        if recipe.tile_diffusion is TileDiffusion.NONE:
            return whole(height, width, self.device)
        size = recipe.tile_size // CELL
        weigh = bell if recipe.tile_diffusion is TileDiffusion.GAUSSIAN else uniform
        return Mosaic(
            boxes=windows(height, width, size=size, stride=recipe.tile_stride // CELL),
            weights=weigh(size, size).to(self.device),
            at_once=recipe.tiles_at_once,
        )

    def encode(self, source: Tensor, recipe: Recipe, *, tick: Tick = ignore) -> list[Tensor]:
        """Return a hint for each batch of tiles: what of the picture the networks see there.

        Each tile is encoded by itself, as upstream does, once for all steps.

        Args:
            source: The picture.
            recipe: Its tiles.
            tick: Called before each part of each layer; may raise to stop.
        """
        pixels = source * 2 - 1
        mosaic = self.lay_out(source, recipe).scaled(CELL)
        return [
            self.autoencoder.encode(cut(pixels, boxes), tile=recipe.encoder_tile, tick=tick)
            for boxes in mosaic.batches()
        ]

    def denoise(
        self,
        source: Tensor,
        hints: Sequence[Tensor],
        recipe: Recipe,
        noise: Noise,
        *,
        on_call: Tick = ignore,
    ) -> Tensor:
        """Walk from noise to a clean latent, in the likeness of the hints.

        Args:
            source: The picture.
            hints: From `encode`.
            recipe: The walk and the tiles.
            noise: Is drawn from for the whole latent, in the order of upstream on a CPU.
            on_call: Called before each batch goes through the networks; may raise to stop.
        """
        shape = (1, CHANNELS, *(side // CELL for side in source.shape[2:]))
        return descend(
            Walk.plan(steps=recipe.steps, t_max=recipe.t_max, t_min=recipe.t_min),
            self.predictor(source, hints, recipe, on_call=on_call),
            lambda: noise.draw(*shape).to(self.device),
            wasteful=recipe.tile_diffusion is TileDiffusion.NONE,
        )

    def predictor(
        self, source: Tensor, hints: Sequence[Tensor], recipe: Recipe, *, on_call: Tick = ignore
    ) -> Predict:
        """Return what predicts the noise in a latent at a timestep, tile by tile; see `denoise`."""
        mosaic = self.lay_out(source, recipe)

        def predict(latent: Tensor, timestep: int) -> Tensor:
            fusion = Fusion(mosaic.weights, *latent.shape[2:])
            for boxes, hint in zip(mosaic.batches(), hints, strict=True):
                on_call()
                fusion.add(boxes, self._noise_in(cut(latent, boxes), timestep, hint))
            return fusion.mean()

        return predict

    def _noise_in(self, latents: Tensor, timestep: int, hint: Tensor) -> Tensor:
        """Predict what of a batch of tiles is noise."""
        dtype = self.prompt.dtype
        return self.controlled(
            latents.to(dtype),
            torch.full((1,), timestep, device=self.device),
            self.prompt.expand(len(latents), -1, -1),
            hint.to(dtype),
        )

    def decode(
        self, latent: Tensor, source: Tensor, recipe: Recipe, *, tick: Tick = ignore
    ) -> Tensor:
        """Return a picture with the colours of the source, roughly in [0, 1].

        Args:
            latent: From `denoise`.
            source: The picture.
            recipe: Its tiles; in a mix, each is decoded and given its colours by itself.
            tick: Called before each part of each layer; may raise to stop.
        """
        mosaic = self.lay_out(source, recipe)
        if recipe.tile_diffusion is not TileDiffusion.MIX:
            mosaic = whole(latent.shape[2], latent.shape[3], self.device)
        pixels = mosaic.scaled(CELL)
        fusion = Fusion(pixels.weights, *source.shape[2:])
        fix = COLOUR_FIXES[recipe.color_fix]
        for cells, boxes in zip(mosaic.batches(), pixels.batches(), strict=True):
            tiles = cut(latent, cells)
            decoded = self.autoencoder.decode(tiles, tile=recipe.decoder_tile, tick=tick) / 2 + 0.5
            fusion.add(boxes, fix(decoded, cut(source, boxes)))
        return fusion.mean()


def _unchanged(picture: Tensor, source: Tensor) -> Tensor:
    return picture


COLOUR_FIXES: Mapping[ColorFix, Callable[[Tensor, Tensor], Tensor]] = {
    ColorFix.NONE: _unchanged,
    ColorFix.WAVELET: colorfix.wavelet,
    ColorFix.ADAIN: colorfix.adain,
}
