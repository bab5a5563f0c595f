"""``fal-ai/seedvr/upscale/image``: enlarge by resampling, restore in one step of diffusion.

Works on 8 bits a channel; the noise of the network is far above the steps between 16-bit values.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from models import colorfix
from models.canvas import pad_to_multiple
from models.checkpoint.manifest import LocalWeights
from models.diffusion.noise import SeededNoise
from models.image import Picture, from_tensor, to_8bit
from models.schema import Size
from models.seedvr2.loading import load_restorer
from models.seedvr2.options import SeedVr2Options
from models.seedvr2.restorer import Restorer
from models.seedvr2.sampler import condition_timestep
from models.seedvr2.schema import MULTIPLE, ColorFix, SeedVr2Request
from models.upscaler import Context, Result

ENCODED, DENOISED = 0.3, 0.5
"""How much of the work is done after each stage, about; decoding is the rest."""

LEAST_TILE = 64
"""Pixels; however often tiles are halved, smaller ones spend more on context than on themselves."""


@dataclass(frozen=True)
class SeedVr2Upscaler:
    """A loaded SeedVR2; immutable after `load`, so one instance serves every job."""

    restorer: Restorer

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: SeedVr2Options, device: str, dtype: str
    ) -> Self:
        """Read the published files strictly.

        Raises:
            WeightsError: A file or a tensor is missing, unknown or of the wrong shape.
        """
        assert weights is not None, "the catalogue says that this endpoint has weights"
        return cls(
            load_restorer(
                weights,
                options=options,
                device=torch.device(device),
                dtype=getattr(torch, dtype),
            )
        )

    @torch.inference_mode()
    def upscale(self, picture: Picture, request: SeedVr2Request, context: Context) -> Result:
        """Enlarge one picture to `request.output_size`; the result has 8 bits a channel."""
        size = request.output_size(Size(picture.width, picture.height))
        tile = context.divided(request.tile_size, least=LEAST_TILE)
        noise = SeededNoise(context.generator())
        tick = context.check_cancelled

        _report(context, 0.0, "encoding")
        source = self._prepare(picture, size)  # (1, 3, H, W) in [-1, 1]
        latent = self.restorer.encode(source, noise, tile=tile, tick=tick)  # (H / 8, W / 8, 16)
        latent = self.restorer.denoise(
            latent,
            noise,
            timestep=condition_timestep(request.noise_scale, *latent.shape[:2]),
            on_block=self._block_reporter(context),
        )
        _report(context, DENOISED, "decoding")
        restored = self.restorer.decode(latent, tile=tile, tick=tick)
        # Without the padding, whose colours the picture has not.
        restored, source = (each[..., : size.height, : size.width] for each in (restored, source))
        restored = COLOUR_FIXES[request.color_fix](restored, source)[0]
        context.progress(1.0, "decoding")
        return Result(images=(from_tensor(restored / 2 + 0.5),), seed=context.seed)

    def _prepare(self, picture: Picture, size: Size) -> Tensor:
        """Resample to the size of the result and pad to whole tokens."""
        # A copy: decoded pixels may be a view that is read-only or turned.
        pixels = torch.from_numpy(np.array(to_8bit(picture).pixels)).to(self.restorer.device)
        floats = pixels.permute(2, 0, 1)[None].float() / 255
        enlarged = interpolate(
            floats, size=(size.height, size.width), mode="bicubic", antialias=True
        ).clamp(0, 1)
        return pad_to_multiple(enlarged, MULTIPLE) * 2 - 1

    def _block_reporter(self, context: Context) -> Callable[[int], None]:
        layers = len(self.restorer.dit.blocks)

        def report(layer: int) -> None:
            _report(context, ENCODED + (DENOISED - ENCODED) * layer / layers, "denoising")

        return report


def _unchanged(picture: Tensor, source: Tensor) -> Tensor:
    return picture


COLOUR_FIXES: Mapping[ColorFix, Callable[[Tensor, Tensor], Tensor]] = {
    ColorFix.WAVELET: colorfix.wavelet,
    ColorFix.LAB: colorfix.lab,
    ColorFix.NONE: _unchanged,
}


def _report(context: Context, done: float, stage: str) -> None:
    context.check_cancelled()
    context.progress(done, stage)
