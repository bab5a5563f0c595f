"""A denoiser for pictures of any size: a UNet over tiles, steered by a hint, guided by prompts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from models.diffusion.conditioning import Condition
from models.diffusion.kdiffusion import Discrete
from models.diffusion.unet import Steered
from models.tiling.fuse import Fusion, Mosaic, cut

CELL = 8
"""Pixels along each side of a latent cell."""

DECAY = 0.825
"""Of a ControlNet's strength for each block further from the middle, where the prompt counts more
than the hint (sd-webui-controlnet's "My prompt is more important")."""


def strengths(outputs: int, *, firmness: float, decay: float = 1.0) -> tuple[float, ...]:
    """Return what a ControlNet's outputs are multiplied by, the middle block's last.

    Args:
        outputs: How many there are; 13 in Stable Diffusion 1.5.
        firmness: Of the middle block's.
        decay: For each block further from it: 1 for all alike.
    """
    return tuple(firmness * decay ** (outputs - 1 - number) for number in range(outputs))


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """What the result should be like, and what not.

    Attributes:
        wanted: The prompt.
        unwanted: The negative prompt, of as many tokens or not.
        scale: How far to go from the one beyond the other; at 1 the prompt alone is asked.
    """

    wanted: Condition
    unwanted: Condition
    scale: float

    @property
    def calls(self) -> int:
        """How often the networks are called for a batch of tiles."""
        alike = self.wanted.tokens.shape == self.unwanted.tokens.shape
        return 1 if self.scale == 1 or alike else 2


@dataclass(frozen=True, kw_only=True)
class TiledDenoiser:
    """Guesses the clean latent from a noisy one, as samplers ask (`kdiffusion.Denoiser`).

    Attributes:
        networks: The UNet and what steers it.
        levels: The noise that they were trained on.
        mosaic: The tiles of the latent.
        hints: Embedded, one batch for each of the mosaic's; None where nothing steers.
        guidance: The prompts.
        strengths: Of the ControlNet's outputs.
        on_call: Called before each call of the networks; may raise to stop.
        sizes: `(1, 6)` float32, what Stable Diffusion XL is told of sizes beside each prompt.
    """

    networks: Steered
    levels: Discrete
    mosaic: Mosaic
    hints: Sequence[Tensor] | None
    guidance: Guidance
    strengths: Sequence[float]
    on_call: Callable[[], None]
    sizes: Tensor | None = None

    def __call__(self, x: Tensor, sigma: float, step: int) -> Tensor:
        """Return `x` without its noise, `(1, c, h, w)` float32."""
        timestep = torch.tensor([self.levels.timestep(sigma)], device=x.device)
        scaled = x / (sigma**2 + 1) ** 0.5
        fusion = Fusion(self.mosaic.weights, *x.shape[2:])
        hints: Sequence[Tensor | None] = self.hints or [None] * self.mosaic.batch_count
        for boxes, hint in zip(self.mosaic.batches(), hints, strict=True):
            fusion.add(boxes, self._noise(cut(scaled, boxes), timestep, hint))
        return x - sigma * fusion.mean()

    def _noise(self, tiles: Tensor, timestep: Tensor, hint: Tensor | None) -> Tensor:
        """Predict the noise in a batch of tiles, guided; in one call where the prompts allow it."""
        guidance = self.guidance
        wanted, unwanted = (each.times(len(tiles)) for each in (guidance.wanted, guidance.unwanted))
        if guidance.scale == 1:
            return self._predict(tiles, timestep, wanted, hint)
        if guidance.calls == 1:
            twice = None if hint is None else hint.repeat(2, 1, 1, 1)
            both = self._predict(tiles.repeat(2, 1, 1, 1), timestep, wanted.beside(unwanted), twice)
            with_it, without = both.chunk(2)
        else:
            with_it, without = (
                self._predict(tiles, timestep, prompt, hint) for prompt in (wanted, unwanted)
            )
        return without + guidance.scale * (with_it - without)

    def _predict(
        self, tiles: Tensor, timestep: Tensor, prompt: Condition, hint: Tensor | None
    ) -> Tensor:
        self.on_call()
        dtype = self.networks.unet.dtype
        added = None
        if prompt.pooled is not None and self.sizes is not None:
            sizes = self.sizes.expand(len(tiles), -1)
            added = {"text_embeds": prompt.pooled.to(dtype), "time_ids": sizes}
        # Laid out one way, whoever made them: compiled networks are compiled anew for another.
        tokens = prompt.tokens.to(dtype).contiguous()
        return self.networks(tiles.to(dtype), timestep, tokens, hint, self.strengths, added).float()


def embed_hints(networks: Steered, hint: Tensor, mosaic: Mosaic) -> list[Tensor]:
    """Embed a hint `(1, 3, 8 * h, 8 * w)` tile by tile, once for all steps."""
    pixels = mosaic.scaled(CELL)
    return [networks.embed_hint(cut(hint, boxes)) for boxes in pixels.batches()]


def calls_of(mosaic: Mosaic, guidance: Guidance, steps: int) -> int:
    """Return how often the networks are called for so many steps, to tell progress by."""
    return steps * mosaic.batch_count * guidance.calls
