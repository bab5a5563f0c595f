"""``fal-ai/chain-of-zoom``: halve what is seen, enlarge it, sharpen it by diffusion; and again.

Works on 8 bits a channel, as upstream does: each step begins with the frame that the last one
would have been stored as.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from torch import Tensor

from models import colorfix
from models.chain_of_zoom.enhancer import CELL, Enhancer, Prompt
from models.chain_of_zoom.loading import load_enhancer, load_prompter, load_prompts
from models.chain_of_zoom.options import ChainOfZoomOptions, ColorFix, Prompter
from models.chain_of_zoom.schema import ChainOfZoomRequest, padded_side
from models.chain_of_zoom.text import Prompts, joined
from models.chain_of_zoom.zoom import Each, Zoom, apart, in_turn
from models.checkpoint.manifest import LocalWeights
from models.image import Picture, Pixels, from_tensor
from models.upscaler import Context, Result, Work

if TYPE_CHECKING:
    from models.chain_of_zoom import prompter

VAE_TILE = 1024
"""The longest side that is encoded or decoded at once, in pixels; halved by `tile_divisor`."""

Fix = Callable[[Tensor, Tensor], Tensor]
FIXES: dict[ColorFix, Fix] = {ColorFix.WAVELET: colorfix.wavelet, ColorFix.ADAIN: colorfix.adain}


@dataclass(frozen=True, kw_only=True)
class ChainOfZoomUpscaler:
    """The networks; unchanged by any job.

    Attributes:
        enhancer: Takes a step.
        prompts: Embeds what it is prompted with.
        prompter: Names what frames show; None where nobody does.
        options: What the operator chose.
    """

    enhancer: Enhancer
    prompts: Prompts
    prompter: "prompter.Prompter | None" = None
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
        looks = options.prompter is Prompter.VLM
        return cls(
            enhancer=load_enhancer(files, device=device, dtype=kind),
            prompts=load_prompts(files, device=device, dtype=kind),
            prompter=load_prompter(files, device=device, dtype=kind) if looks else None,
            options=options,
        )

    @torch.inference_mode()
    def upscale(self, picture: Picture, request: ChainOfZoomRequest, context: Context) -> Result:
        """Zoom into one picture; each image has its size, 8 bits a channel and no alpha."""
        zoom = Zoom(Work(picture, request, context))
        self._go([zoom], in_turn)
        return zoom.result()

    @torch.inference_mode()
    def upscale_together(self, work: Sequence[Work]) -> list[Result | Exception]:
        """Zoom into the pictures of several jobs, all of them step by step.

        What moves on and off the device between the phases of a step, the language model and the
        blocks of the text encoders, moves once for all. Nothing is computed for several at once,
        so that each result is to the bit what `upscale` makes of the job.
        """
        zooms = [Zoom(each) for each in work]
        self._go(zooms, apart)
        return [zoom.raised or zoom.result() for zoom in zooms]

    def _go(self, zooms: Sequence[Zoom], each: Each) -> None:
        """Take all steps of all jobs, one phase after the other."""
        each(zooms, lambda zoom: zoom.tell("reading the prompt"))
        while under_way := [zoom for zoom in zooms if not zoom.has_ended]:
            if self.prompter is not None:
                with self.prompter.present() as describe:
                    each(under_way, lambda zoom: zoom.listen(describe))
            self._embed([zoom for zoom in under_way if not zoom.has_ended])
            each(under_way, self._sharpen)

    def _embed(self, zooms: Sequence[Zoom]) -> None:
        texts = [joined(zoom.said, zoom.wanted) for zoom in zooms]
        for zoom, prompt in zip(zooms, self.prompts.embed(texts), strict=True):
            zoom.prompt = prompt

    def _sharpen(self, zoom: Zoom) -> None:
        """Take one job's step of super-resolution."""
        seen = np.array(zoom.seen)
        height, width, _ = seen.shape
        signed = as_tensor(padded(seen)) * 2 - 1
        drawn = zoom.noise.draw(
            1, self.enhancer.cells, *(side // CELL for side in signed.shape[2:])
        )
        assert zoom.prompt is not None, "prompts are embedded first"
        raw = self._step(signed.to(self.enhancer.device), drawn, zoom.prompt, zoom.context)
        levels = from_tensor(raw[0, :, :height, :width] / 2 + 0.5, truncated=True)
        zoom.take(aligned(levels, seen, self.options.color_fix))

    def _step(self, signed: Tensor, noise: Tensor, prompt: Prompt, context: Context) -> Tensor:
        tile, tick = context.divided(VAE_TILE, least=64), context.check_cancelled
        tiles = self.enhancer.tiles.divided(context.tile_divisor)
        latent = self.enhancer.encode(signed, noise, tile=tile, tick=tick)
        latent = replace(self.enhancer, tiles=tiles).enhance(latent, [prompt], tick=tick)
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
