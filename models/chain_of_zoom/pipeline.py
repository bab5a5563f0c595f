"""``fal-ai/chain-of-zoom``: halve what is seen, enlarge it, sharpen it by diffusion; and again.

Works on 8 bits a channel, as upstream does: each step begins with the frame that the last one
would have been stored as.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models import colorfix
from models.chain_of_zoom.enhancer import CELL, Enhancer, Prompt
from models.chain_of_zoom.frames import enlarged, windows
from models.chain_of_zoom.loading import load_enhancer, load_prompts
from models.chain_of_zoom.options import ChainOfZoomOptions, ColorFix
from models.chain_of_zoom.schema import ChainOfZoomRequest, padded_side
from models.chain_of_zoom.text import Prompts
from models.checkpoint.manifest import LocalWeights
from models.diffusion.noise import Noise, SeededNoise
from models.image import Picture, Pixels, from_tensor, on_white, to_8bit
from models.schema import Size
from models.upscaler import Context, Result

VAE_TILE = 1024
"""The longest side that is encoded or decoded at once, in pixels; halved by `tile_divisor`."""

Fix = Callable[[Tensor, Tensor], Tensor]
FIXES: dict[ColorFix, Fix] = {ColorFix.WAVELET: colorfix.wavelet, ColorFix.ADAIN: colorfix.adain}


@dataclass(frozen=True, kw_only=True)
class ChainOfZoomUpscaler:
    """The networks; unchanged by any job."""

    enhancer: Enhancer
    prompts: Prompts
    options: ChainOfZoomOptions

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: ChainOfZoomOptions, device: str, dtype: str
    ) -> Self:
        """Read all files strictly, and merge the adapters.

        Raises:
            WeightsError: A file does not fit; the message names it.
        """
        assert weights is not None, "the catalogue names a manifest"
        files, kind = weights.files, getattr(torch, dtype)
        return cls(
            enhancer=load_enhancer(files, device=device, dtype=kind),
            prompts=load_prompts(files, device=device, dtype=kind),
            options=options,
        )

    @torch.inference_mode()
    def upscale(self, picture: Picture, request: ChainOfZoomRequest, context: Context) -> Result:
        """Zoom into one picture; each image has its size, 8 bits a channel and no alpha."""
        pixels = on_white(to_8bit(picture))
        seed = request.seed if request.seed is not None else derived_seed(pixels, request)
        _tell(context, 0.0, "reading the prompt")
        prompt = self.prompts.embed(cleaned(request.user_prompt))
        return Result(
            images=tuple(self._zoom(Image.fromarray(pixels), request, prompt, seed, context)),
            seed=seed,
            body={"scale": request.zoom, "zoom_center": [request.center_x, request.center_y]},
            opaque=True,
        )

    def _zoom(
        self,
        source: Image.Image,
        request: ChainOfZoomRequest,
        prompt: Prompt,
        seed: int,
        context: Context,
    ) -> list[Pixels]:
        size = Size(*source.size)
        frame = source.resize(request.frame_size(size), Image.Resampling.LANCZOS)
        noise = SeededNoise(torch.Generator().manual_seed(seed))
        centre = request.center_x, request.center_y
        images = []
        for window in windows(size, Size(*frame.size), centre, request.steps):
            seen = np.array(enlarged(source, frame, window))
            frame = Image.fromarray(self._sharpened(seen, prompt, noise, context))
            images.append(np.array(frame.resize(size, Image.Resampling.LANCZOS)))
            _tell(context, len(images) / request.steps, "zooming")
        return images

    def _sharpened(self, seen: Pixels, prompt: Prompt, noise: Noise, context: Context) -> Pixels:
        """Take a step of super-resolution: `(h, w, 3)` uint8 to the same."""
        height, width, _ = seen.shape
        signed = as_tensor(padded(seen)) * 2 - 1
        drawn = noise.draw(1, self.enhancer.cells, *(side // CELL for side in signed.shape[2:]))
        raw = self._step(signed.to(self.enhancer.device), drawn, prompt, context)
        levels = from_tensor(raw[0, :, :height, :width] / 2 + 0.5, truncated=True)
        return aligned(levels, seen, self.options.color_fix)

    def _step(self, signed: Tensor, noise: Tensor, prompt: Prompt, context: Context) -> Tensor:
        tile, tick = max(VAE_TILE // context.tile_divisor, 64), context.check_cancelled
        latent = self.enhancer.encode(signed, noise, tile=tile, tick=tick)
        latent = self.enhancer.enhance(latent, [prompt], tick=tick)
        return self.enhancer.decode(latent, tile=tile, tick=tick)


def padded(pixels: Pixels) -> Pixels:
    """Reflect a picture at its right and lower border, to whole tokens."""
    height, width, _ = pixels.shape
    more = padded_side(height) - height, padded_side(width) - width
    reflected = np.pad(pixels, ((0, more[0]), (0, more[1]), (0, 0)), mode="reflect")
    return reflected.astype(np.uint8, copy=False)


def as_tensor(pixels: Pixels) -> Tensor:
    """Turn `(h, w, 3)` uint8 into `(1, 3, h, w)` float32 in [0, 1]."""
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def aligned(made: Pixels, seen: Pixels, fix: ColorFix) -> Pixels:
    """Give a frame the colours of what it was made from, both of 8 bits as in upstream."""
    if fix is ColorFix.NONE:
        return made
    fixed = FIXES[fix](as_tensor(made), as_tensor(seen))
    return from_tensor(fixed[0], truncated=True)


def derived_seed(pixels: Pixels, request: ChainOfZoomRequest) -> int:
    """Make a seed of a picture and the arguments that its frames depend on."""
    arguments = request.model_dump_json(exclude={"image_url", "seed", "sync_mode"})
    digest = hashlib.sha256(arguments.encode())
    digest.update(repr(pixels.shape).encode())
    digest.update(pixels.tobytes())
    return int.from_bytes(digest.digest()[:8]) >> 1


def cleaned(text: str) -> str:
    """Drop control characters, and what spaces do not separate words."""
    return "".join(each for each in " ".join(text.split()) if each.isprintable())


def _tell(context: Context, done: float, stage: str) -> None:
    context.check_cancelled()
    context.progress(done, stage)
