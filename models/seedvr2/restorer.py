"""The core of SeedVR2: from a prepared picture and a source of noise to pixels."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from models.diffusion.noise import Noise
from models.placement import resting_place
from models.seedvr2 import sampler
from models.seedvr2.dit import Dit
from models.seedvr2.vae import CELL, Vae, sample
from models.tiling.autoencoder import decoder_steps, encoder_steps, resting_bytes
from models.tiling.vae import Floor, run

SCALING = 0.9152
"""Brings the autoencoder's latent to the deviation that the transformer was trained with."""


def ignore(*_: object) -> None:
    """Take note of nothing."""


@dataclass(frozen=True, kw_only=True)
class Restorer:
    """The networks, and the prompt that they work under; unchanged by any picture.

    Latents are float32 and lie as upstream's, `(h, w, 16)`; only networks work in their own dtype.
    """

    vae: Vae
    dit: Dit
    prompt: Tensor

    @property
    def device(self) -> torch.device:
        """Where the networks compute."""
        return self.prompt.device

    def encode(
        self, pixels: Tensor, noise: Noise, *, tile: int, tick: Callable[[], None] = ignore
    ) -> Tensor:
        """Return a latent drawn from the posterior, as upstream does, not its mean.

        Args:
            pixels: `(1, 3, H, W)` in [-1, 1]; multiples of 16.
            noise: Is drawn from once, for the whole picture, whatever the tiles.
            tile: The longest side of what is worked on at once, in pixels.
            tick: Called before each tile of each layer; may raise to stop.
        """
        steps = encoder_steps(self.vae.encoder)
        floor = self._floor(self.vae.encoder, pixels[0, 0].numel(), tile, tick)
        moments = run(steps, pixels.to(self.prompt.dtype), floor).to(self.device)
        rows, columns = moments.shape[2:]
        drawn = noise.draw(1, sampler.CHANNELS, 1, rows, columns)[:, :, 0]
        latent = sample(moments, drawn.to(self.device))
        return rearrange(latent, "1 c h w -> h w c") * SCALING

    def denoise(
        self,
        condition: Tensor,
        noise: Noise,
        *,
        timestep: float,
        on_block: Callable[[int], None] = ignore,
    ) -> Tensor:
        """Make a clean latent out of noise, in the likeness of another.

        Args:
            condition: `(h, w, 16)`, from `encode`.
            noise: Is drawn from twice, also where `timestep` is 0, so that the first draw is the
                same whatever the timestep.
            timestep: How noisy the condition is made, in [0, 1000].
            on_block: Called with each block's number before it runs; may raise to stop.
        """
        start, added = (noise.draw(1, *condition.shape)[0].to(self.device) for _ in range(2))
        cells = sampler.network_input(start, sampler.add_noise(condition, added, timestep))
        last = torch.tensor([sampler.LAST], device=self.device)
        velocity = self.dit(cells.to(self.prompt.dtype), self.prompt, last, on_block)
        return sampler.clean_latent(start, velocity.float())

    def decode(self, latent: Tensor, *, tile: int, tick: Callable[[], None] = ignore) -> Tensor:
        """Return `(1, 3, H, W)` float32 pixels, roughly in [-1, 1], of an `(h, w, 16)` latent."""
        cells = rearrange(latent / SCALING, "h w c -> 1 c h w").to(self.prompt.dtype)
        floor = self._floor(self.vae.decoder, cells[0, 0].numel() * CELL**2, tile, tick)
        return run(decoder_steps(self.vae.decoder), cells, floor).to(self.device).float()

    def _floor(self, coder: nn.Module, pixels: int, tile: int, tick: Callable[[], None]) -> Floor:
        rest = resting_place(resting_bytes(coder, pixels, self.prompt.dtype), self.device)
        return Floor(device=self.device, rest=rest, tile=tile, tick=tick)
