"""``fal-ai/ccsr``: enlarge by resampling, restore by a truncated walk of diffusion.

Works on 8 bits a channel, as upstream does; the networks' noise is far above finer steps.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.ccsr.loading import load_restorer
from models.ccsr.options import CcsrOptions, TiledVae
from models.ccsr.recipe import Recipe, plan
from models.ccsr.restorer import Restorer
from models.ccsr.sampler import Walk
from models.ccsr.schema import CcsrRequest, TileDiffusion
from models.checkpoint.manifest import LocalWeights
from models.diffusion.noise import SeededNoise
from models.errors import OutOfDeviceMemory
from models.image import Picture, Pixels, from_tensor, to_8bit
from models.placement import move
from models.schema import Size
from models.upscaler import Context, Result

ENCODED, DENOISED = 0.1, 0.8
"""How much of the work is done after each stage, about; decoding is the rest."""


@dataclass(frozen=True)
class CcsrUpscaler:
    """A loaded CCSR; immutable after `load`, so one instance serves every job."""

    restorer: Restorer
    options: CcsrOptions

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: CcsrOptions, device: str, dtype: str
    ) -> Self:
        """Read the published file strictly.

        Raises:
            WeightsError: A tensor is missing, unknown or of the wrong shape.
        """
        assert weights is not None, "the catalogue says that this endpoint has weights"
        restorer = load_restorer(
            weights.files["model"],
            options=options,
            device=torch.device(device),
            dtype=getattr(torch, dtype),
        )
        return cls(restorer, options)

    def move(self, device: str) -> None:
        """Take all weights to a device."""
        move((self.restorer.controlled, self.restorer.autoencoder.vae), device)

    @torch.inference_mode()
    def upscale(self, picture: Picture, request: CcsrRequest, context: Context) -> Result:
        """Enlarge one picture to `request.output_size`; the result has 8 bits a channel.

        Raises:
            OutOfDeviceMemory: There is no room for the whole latent, and no tiles were asked for.
        """
        lowered = prepare(to_8bit(picture).pixels, request)
        source = self._as_tensor(lowered)  # (1, 3, H, W) in [0, 1]
        recipe = plan(
            request,
            longest_side=max(source.shape[2:]),
            divisor=context.tile_divisor,
            tiled_encoder=self.options.tiled_vae is TiledVae.SEAMLESS,
        )
        restored = self.restore(source, recipe, context)
        size = request.output_size(Size(picture.width, picture.height))
        context.progress(1.0, "decoding")
        return Result(images=(finish(restored, size),), seed=context.seed)

    def restore(self, source: Tensor, recipe: Recipe, context: Context) -> Tensor:
        """Take a prepared picture through all stages; see `Restorer` for its form."""
        tick = context.check_cancelled
        _report(context, 0.0, "encoding")
        hints = self.restorer.encode(source, recipe, tick=tick)
        with _naming_tile_diffusion(recipe, context):
            latent = self.restorer.denoise(
                source,
                hints,
                recipe,
                SeededNoise(context.generator()),
                on_call=_call_reporter(context, recipe, len(hints)),
            )
        _report(context, DENOISED, "decoding")
        return self.restorer.decode(latent, source, recipe, tick=tick)

    def _as_tensor(self, pixels: Pixels) -> Tensor:
        there = torch.from_numpy(pixels).to(self.restorer.device)
        return there.permute(2, 0, 1)[None].float().contiguous() / 255


def prepare(pixels: Pixels, request: CcsrRequest) -> Pixels:
    """Bring a picture to the size that it is worked on at, in upstream's two or three resamplings.

    Args:
        pixels: `(h, w, 3)` uint8.
        request: Says which size.

    Returns:
        `(H, W, 3)` uint8 of `request.working_size`.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    size = Size(*image.size)
    for grown in (request.output_size(size), request.grown_size(size)):
        if grown != image.size:
            image = image.resize(grown, Image.Resampling.BICUBIC)
    return np.array(image.resize(request.working_size(size), Image.Resampling.LANCZOS))


def finish(restored: Tensor, size: Size) -> Pixels:
    """Round a restored picture down to 8 bits, as upstream does, and bring it to its size.

    Args:
        restored: `(1, 3, H, W)`, clipped to [0, 1].
        size: Of the result.

    Returns:
        `(h, w, 3)` uint8.

    Raises:
        NotFinite: A value is no number.
    """
    image = Image.fromarray(from_tensor(restored[0], truncated=True))
    return np.array(image.resize(size, Image.Resampling.LANCZOS))


def _call_reporter(context: Context, recipe: Recipe, batches: int) -> Callable[[], None]:
    """Return what reports progress each time that it is called, before a call of the networks."""
    walk = Walk.plan(steps=recipe.steps, t_max=recipe.t_max, t_min=recipe.t_min)
    calls = walk.calls * batches
    called = iter(range(calls))

    def report() -> None:
        _report(context, ENCODED + (DENOISED - ENCODED) * next(called) / calls, "denoising")

    return report


@contextmanager
def _naming_tile_diffusion(recipe: Recipe, context: Context) -> Iterator[None]:
    """Say which field helps where a latent is too large and there are no tiles to make smaller.

    Only when the device has nothing else left on it: before that, the engine can still help.
    """
    try:
        yield
    except torch.OutOfMemoryError as exc:
        if recipe.tile_diffusion is not TileDiffusion.NONE or context.tile_divisor == 1:
            raise
        message = (
            "the device has no room to restore this picture as a whole; set tile_diffusion to "
            "gaussian or mix, or make the picture or its scale smaller"
        )
        raise OutOfDeviceMemory(message) from exc


def _report(context: Context, done: float, stage: str) -> None:
    context.check_cancelled()
    context.progress(done, stage)
