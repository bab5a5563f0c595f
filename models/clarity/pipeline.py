"""``fal-ai/clarity-upscaler``: enlarge, then let diffusion add what a larger picture would show.

Works on 8 bits a channel, as upstream does: each pass begins with the picture that the last one
would have been stored as.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import numpy as np
import torch
from torch import Tensor

from models.checkpoint.manifest import LocalWeights
from models.clarity.options import ClarityOptions, Sampler
from models.clarity.passes import Pass, plan
from models.clarity.schema import ClarityRequest
from models.diffusion import kdiffusion
from models.diffusion.compiled import Shapes
from models.diffusion.enlarging import enlarge
from models.diffusion.hint import control_hint
from models.diffusion.inversions import read_inversion
from models.diffusion.kdiffusion import Discrete
from models.diffusion.loop import (
    DECAY,
    Guidance,
    TiledDenoiser,
    calls_of,
    embed_hints,
    strengths,
)
from models.diffusion.lora import Adapted, Lora, Weighted, read_lora
from models.diffusion.noise import Noise, SeededNoise
from models.diffusion.prompts import Tag, take_tags
from models.diffusion.safety import SafetyChecker, load_safety_checker
from models.diffusion.stable import Files, StableDiffusion, load_stable_diffusion
from models.diffusion.stages import Stages
from models.diffusion.texts import Texts
from models.image import Picture, Pixels, to_8bit
from models.schema import Size
from models.tiling.fuse import Mosaic, balanced, spread, uniform
from models.upscaler import Context, Result

OUTPUTS = 13
"""Of the ControlNet: twelve on the way down, one in the middle."""
OVERLAP = 4
"""Cells that tiles share at least; evenly spread, they mostly share more."""
LEAST_TILE = 16
SAMPLERS = {Sampler.DPMPP_3M_SDE: kdiffusion.dpmpp_3m_sde, Sampler.DPMPP_2M: kdiffusion.dpmpp_2m}
SCHEDULES = {
    Sampler.DPMPP_3M_SDE: kdiffusion.karras_without_last,
    Sampler.DPMPP_2M: kdiffusion.karras,
}


@dataclass(frozen=True, kw_only=True)
class ClarityUpscaler:
    """Stable Diffusion 1.5 with what belongs to it; unchanged by any job."""

    model: StableDiffusion
    texts: Texts
    adapted: Adapted
    offered: dict[str, Lora]
    safety: SafetyChecker | None
    options: ClarityOptions
    levels: Discrete = field(default_factory=Discrete)

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: ClarityOptions, device: str, dtype: str
    ) -> Self:
        """Read all files strictly, and merge the LoRAs that always belong to them.

        Raises:
            WeightsError: A file does not fit; the message names it.
            CompilerMissing: The networks are to be compiled, and can't be here.
        """
        assert weights is not None, "the catalogue names a manifest"
        files, kind = weights.files, getattr(torch, dtype)
        model = load_stable_diffusion(
            Files(base=files["base"], vae=files["vae"], controlnet=files["controlnet"]),
            device=device,
            dtype=kind,
            compiled=_shapes(options) if options.compiled else None,
        )
        always = [
            Weighted(lora=read_lora(files[f"lora {name}"], name=name), unet=weight, text=weight)
            for name, weight in options.loras.items()
        ]
        widths = {"text": model.text.width}
        return cls(
            model=model,
            adapted=Adapted(model.adaptable(), always),
            texts=Texts(
                model.towers(),
                [read_inversion(files[f"inversion {each}"], widths) for each in options.inversions],
            ),
            offered={
                name: read_lora(files[f"lora {name}"], name=name) for name in options.offered_loras
            },
            safety=load_safety_checker(files["safety"], device=device, dtype=torch.float32)
            if options.safety_checker
            else None,
            options=options,
        )

    @torch.inference_mode()
    def upscale(self, picture: Picture, request: ClarityRequest, context: Context) -> Result:
        """Enlarge one picture to `request.output_size`, in 8 bits a channel.

        Raises:
            ArgumentInvalid: A prompt is too long.
            NotFinite: The networks made NaN or infinity.
        """
        size = Size(picture.width, picture.height)
        passes = plan(
            size,
            factor=request.upscale_factor,
            creativity=request.creativity,
            seed=context.seed,
        )
        made, stages = to_8bit(picture).pixels, Stages(context)
        prompt, tags = take_tags(request.prompt)
        more = self._asked_for(tags)
        with self.adapted.also(more):
            guidance = self._guidance(prompt, more, request)
            for each, share in zip(passes, _shares(passes), strict=True):
                stages.share = share
                made = self._pass(made, each, guidance, request, stages)
        flagged = self._is_flagged(made, request, stages)
        context.progress(1.0, "decoding")
        return Result(
            images=(np.zeros_like(made) if flagged else made,),
            seed=context.seed,
            body={"timings": {name: round(took, 3) for name, took in stages.seconds.items()}},
            flagged=flagged,
        )

    def _asked_for(self, tags: Sequence[Tag]) -> list[Weighted]:
        """Return the LoRAs that a prompt asks for and the operator offers; others are ignored."""
        asked = []
        for tag in tags:
            if tag.kind == "lora" and tag.values and tag.values[0] in self.offered:
                text = _number(tag.named.get("te"), tag.values[1:2], 1.0)
                unet = _number(tag.named.get("unet"), tag.values[2:3], text)
                asked.append(Weighted(lora=self.offered[tag.values[0]], unet=unet, text=text))
        return asked

    def _guidance(self, prompt: str, more: Sequence[Weighted], request: ClarityRequest) -> Guidance:
        adapted = tuple((each.lora.name, each.text) for each in more)
        unwanted, _ = take_tags(request.negative_prompt + self.options.negative_suffix)
        return Guidance(
            wanted=self.texts.condition(prompt, field="prompt", adapted=adapted),
            unwanted=self.texts.condition(unwanted, field="negative_prompt", adapted=adapted),
            scale=request.guidance_scale,
        )

    def _pass(
        self,
        pixels: Pixels,
        goal: Pass,
        guidance: Guidance,
        request: ClarityRequest,
        stages: Stages,
    ) -> Pixels:
        """Enlarge a picture to the size of a pass, and diffuse it there."""
        with stages.stage("enlarging"):
            enlarged = enlarge(pixels, goal.size, self.options.enlarger, stages, share=0.15)
        hint = control_hint(pixels, goal.size).to(self.model.device)
        with stages.stage("encoding"):
            stages.tell(0.15, "encoding")
            tick, tile = stages.context.check_cancelled, self._vae_tile(stages)
            latent = self.model.encode(enlarged, tile=tile, tick=tick)
        with stages.stage("denoising"):
            noise = SeededNoise(torch.Generator().manual_seed(goal.seed))
            latent = self._diffuse(latent, hint, goal.strength, guidance, request, noise, stages)
        with stages.stage("decoding"):
            stages.tell(0.9, "decoding")
            return self.model.decode(latent, tile=tile, tick=tick)

    def _vae_tile(self, stages: Stages) -> int:
        return stages.context.divided(self.options.vae_tile, least=128)

    def mosaic(self, height: int, width: int, *, divisor: int = 1) -> Mosaic:
        """Return the tiles of a latent of `height` x `width` cells."""
        tile_height = max(LEAST_TILE, self.options.tile_height // divisor)
        tile_width = max(LEAST_TILE, self.options.tile_width // divisor)
        boxes = spread(
            height, width, tile_height=tile_height, tile_width=tile_width, overlap=OVERLAP
        )
        weights = uniform(boxes[0].rows.length, boxes[0].columns.length)
        return Mosaic(
            boxes=boxes,
            weights=weights.to(self.model.device),
            at_once=balanced(len(boxes), self.options.tile_batch),
        )

    def _diffuse(
        self,
        latent: Tensor,
        hint: Tensor,
        strength: float,
        guidance: Guidance,
        request: ClarityRequest,
        noise: Noise,
        stages: Stages,
    ) -> Tensor:
        """Add noise to a latent, and take it away again under the prompts and the hint."""
        mosaic = self.mosaic(*latent.shape[2:], divisor=stages.context.tile_divisor)
        schedule = SCHEDULES[self.options.sampler](
            request.num_inference_steps, least=self.levels.least, most=self.levels.most
        )
        sigmas = kdiffusion.truncated(schedule, strength)
        calls = calls_of(mosaic, guidance, len(sigmas) - 1)
        denoiser = TiledDenoiser(
            networks=self.model.steered,
            levels=self.levels,
            mosaic=mosaic,
            hints=embed_hints(self.model.steered, hint, mosaic),
            guidance=guidance,
            strengths=strengths(OUTPUTS, firmness=request.resemblance, decay=DECAY),
            on_call=stages.counter(calls, 0.2, 0.9),
        )
        start = latent + noise.draw(*latent.shape).to(latent) * sigmas[0].item()
        return SAMPLERS[self.options.sampler](denoiser, start, sigmas, noise)

    def _is_flagged(self, pixels: Pixels, request: ClarityRequest, stages: Stages) -> bool:
        if self.safety is None or not request.enable_safety_checker:
            return False
        with stages.stage("checking"):
            return self.safety.flags(pixels)


def _shapes(options: ClarityOptions) -> Shapes:
    """Return those that are compiled for: batches with and without the prompt among them."""
    return Shapes(
        height=options.tile_height, width=options.tile_width, batch=2 * options.tile_batch
    )


def _number(named: str | None, positional: Sequence[str], default: float) -> float:
    """Return a weight in a tag, by name or by place; what is no number counts as not given."""
    for text in (named, *positional):
        if text is not None:
            with suppress(ValueError):
                return float(text)
    return default


def _shares(passes: Sequence[Pass]) -> list[tuple[float, float]]:
    """Part the whole work by the areas of the passes."""
    areas = [each.size.width * each.size.height for each in passes]
    done = [sum(areas[:number]) / sum(areas) for number in range(len(areas) + 1)]
    return list(pairwise(done))
