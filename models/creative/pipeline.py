"""``fal-ai/creative-upscaler``: restore a picture at its new size, then let diffusion add detail.

Works on 8 bits a channel, as the endpoints do that it borrows.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Self, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.checkpoint.manifest import LocalWeights
from models.creative.brought import BASE, Brought, blaming, read_brought
from models.creative.captions import Captioner, load_captioner
from models.creative.options import Captioner as Kind
from models.creative.options import CreativeOptions
from models.creative.recipe import RESTORER, Recipe, plan, restoration
from models.creative.schema import CreativeRequest
from models.creative.weights import SDXL
from models.diffusion import kdiffusion
from models.diffusion.bases import Generation
from models.diffusion.compiled import Shapes
from models.diffusion.enlarging import enlarge
from models.diffusion.hint import control_hint
from models.diffusion.kdiffusion import Discrete
from models.diffusion.loop import Guidance, TiledDenoiser, calls_of, embed_hints, strengths
from models.diffusion.lora import Adapted, Lora, Weighted, read_lora
from models.diffusion.noise import SeededNoise
from models.diffusion.prompts import take_tags
from models.diffusion.safety import SafetyChecker, load_safety_checker
from models.diffusion.stable import Files, StableDiffusion, load_stable_diffusion, rebased
from models.diffusion.stages import Stages
from models.diffusion.texts import Texts
from models.errors import ArgumentInvalid, NotFinite
from models.image import Picture, Pixels, to_8bit
from models.placement import move
from models.schema import Size
from models.tiling.fuse import Mosaic, balanced, side_bell, spread
from models.upscaler import Context, Result, Work

OVERLAP = 16
"""Cells that tiles share at least; evenly spread, they mostly share more."""
LEAST_TILE = 32
RESTORED, ENCODED, DENOISED = 0.4, 0.45, 0.9
"""How much of the work is done after each stage, about; decoding is the rest."""


@dataclass(frozen=True, kw_only=True)
class Kit:
    """What one job is done with.

    Attributes:
        model: The networks, with the job's LoRAs in their weights.
        texts: Encodes prompts by them.
        loras: Their names and weights.
    """

    model: StableDiffusion
    texts: Texts
    loras: Sequence[Weighted]


@dataclass(frozen=True, kw_only=True)
class CreativeUpscaler:
    """Stable Diffusion with what belongs to it; unchanged by any job."""

    model: StableDiffusion
    texts: Texts
    adapted: Adapted
    detail: Lora | None
    safety: SafetyChecker | None
    captioner: Captioner | None
    options: CreativeOptions
    variant: str
    levels: Discrete = field(default_factory=Discrete)

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: CreativeOptions, device: str, dtype: str
    ) -> Self:
        """Read all files of a variant strictly.

        Raises:
            WeightsError: A file does not fit; the message names it.
            CompilerMissing: The networks are to be compiled, and can't be here.
        """
        assert weights is not None, "the catalogue names a manifest"
        files = weights.files
        model = load_stable_diffusion(
            Files(base=files["base"], vae=files["vae"], controlnet=files.get("controlnet")),
            device=device,
            dtype=getattr(torch, dtype),
            generation=Generation.SDXL if weights.variant == SDXL else Generation.SD15,
            compiled=_shapes(options, weights.variant) if options.compiled else None,
        )
        name = options.detail_of(weights.variant)
        return cls(
            model=model,
            texts=Texts(model.towers(), projection=model.projection),
            adapted=Adapted(model.adaptable()),
            detail=read_lora(files[f"lora {name}"], name=name) if name else None,
            safety=load_safety_checker(files["safety"], device=device, dtype=torch.float32)
            if options.safety_checker
            else None,
            captioner=load_captioner(
                options.captioner, files, device=device, dtype=model.steered.unet.dtype
            )
            if options.captioner is not Kind.NONE
            else None,
            options=options,
            variant=weights.variant,
        )

    def move(self, device: str) -> None:
        """Take all weights but the captioner's, which wait on the host anyway, to a device."""
        checker = (self.safety,) if self.safety is not None else ()
        move((*self.model.networks(), *checker), device)

    @torch.inference_mode()
    def upscale(self, picture: Picture, request: CreativeRequest, context: Context) -> Result:
        """Enlarge one picture to `request.output_size`, in 8 bits a channel.

        Raises:
            ArgumentInvalid: A prompt is too long, or this worker restores no pictures.
            NotFinite: The networks made NaN or infinity.
        """
        self._check(request)
        stages, pixels = Stages(context), to_8bit(picture).pixels
        brought = read_brought(request, context.files, self.model, self.adapted)
        size = Size(picture.width, picture.height)
        caption = self._caption(request, pixels, stages)
        recipe = plan(request, size, text=(request.prompt or "") if caption is None else caption)
        prepared = self._prepare(pixels, recipe, request, stages)
        with self._kit(recipe, request, brought, context) as kit, _blaming_nan(brought):
            made = self._diffuse(prepared, recipe, request, kit, stages)
        flagged = self._is_flagged(made, request, stages)
        context.progress(1.0, "decoding")
        return Result(
            images=(np.zeros_like(made) if flagged else made,),
            seed=context.seed,
            flagged=flagged,
            notes=self._notes(recipe, brought, caption),
        )

    def _check(self, request: CreativeRequest) -> None:
        if not (request.skip_ccsr or self.options.ccsr):
            reason = "skip_ccsr: CCSR is not installed here; set skip_ccsr to true"
            raise ArgumentInvalid(reason, field="skip_ccsr")

    def _caption(self, request: CreativeRequest, pixels: Pixels, stages: Stages) -> str | None:
        """Return what stands for a missing prompt; None where there is one."""
        if request.prompt and request.prompt.strip():
            return None
        stages.tell(0.0, "captioning")
        if self.captioner is None:
            return ""
        return self.captioner.describe(pixels, stages.context.check_cancelled)

    def _notes(self, recipe: Recipe, brought: Brought, caption: str | None) -> dict[str, Any]:
        """Return what the job's record says beside its result."""
        notes: dict[str, Any] = {"caption": caption} if caption else {}
        if recipe.firmness and self.model.steered.controlnet is None:
            notes["shape_preservation"] = "ignored: no ControlNet for this model is installed"
        if brought.ignored:
            notes["additional_lora_layers_ignored"] = brought.ignored
        return notes

    @contextmanager
    def _kit(
        self, recipe: Recipe, request: CreativeRequest, brought: Brought, context: Context
    ) -> Iterator[Kit]:
        """Have the networks as a job wants them; nothing of it is left behind."""
        context.check_cancelled()
        model, adapted, texts = self.model, self.adapted, self.texts
        if brought.base is not None:
            with blaming(BASE, brought.base):
                model = rebased(model, brought.base, dtype=model.steered.unet.dtype)
            adapted = Adapted(model.adaptable())
        if brought.fields:
            known = [brought.inversion] if brought.inversion is not None else []
            texts = Texts(model.towers(), known, projection=model.projection)
        loras = self._loras(recipe)
        if brought.lora is not None and request.additional_lora_scale:
            scale = request.additional_lora_scale
            loras.append(Weighted(lora=brought.lora, unet=scale, text=scale))
        with adapted.also(loras):
            yield Kit(model=model, texts=texts, loras=loras)

    def _loras(self, recipe: Recipe) -> list[Weighted]:
        if self.detail is None or not recipe.detail:
            return []
        return [Weighted(lora=self.detail, unet=recipe.detail, text=recipe.detail)]

    def _prepare(
        self, pixels: Pixels, recipe: Recipe, request: CreativeRequest, stages: Stages
    ) -> Pixels:
        """Bring a picture to its final size, restored or only enlarged."""
        stages.tell(0.0, "enlarging")
        goal = recipe.target
        if request.skip_ccsr:
            return enlarge(pixels, goal, self.options.enlarger, stages, share=RESTORED)
        resized = Image.fromarray(np.ascontiguousarray(pixels)).resize(
            goal, Image.Resampling.BICUBIC
        )
        progress = stages.within(0.0, RESTORED, "restoring")
        context = replace(stages.context, progress=progress)
        work = Work(Picture(pixels=np.asarray(resized)), restoration(goal), context)
        return stages.context.borrow(RESTORER, work).images[0]

    def _diffuse(
        self,
        prepared: Pixels,
        recipe: Recipe,
        request: CreativeRequest,
        kit: Kit,
        stages: Stages,
    ) -> Pixels:
        """Add noise to a picture at its final size, and take it away again under the prompts."""
        guidance = self._guidance(recipe, request, kit)
        worked = _grown(prepared, recipe.working)
        tick, tile = stages.context.check_cancelled, self._vae_tile(stages)
        stages.tell(RESTORED, "encoding")
        latent = kit.model.encode(worked, tile=tile, tick=tick)
        noise = SeededNoise(stages.context.generator())
        schedule = kdiffusion.karras_without_last(
            request.num_inference_steps, least=self.levels.least, most=self.levels.most
        )
        sigmas = kdiffusion.truncated(schedule, recipe.strength)
        denoiser = self._denoiser(worked, guidance, recipe, kit, stages, len(sigmas) - 1)
        more = 1.0 if self.detail is not None else recipe.noise
        start = latent + more * noise.draw(*latent.shape).to(latent) * sigmas[0].item()
        cleaned = kdiffusion.dpmpp_3m_sde(denoiser, start, sigmas, noise)
        stages.tell(DENOISED, "decoding")
        decoded = kit.model.decode(cleaned, tile=tile, tick=tick)
        return decoded[: recipe.target.height, : recipe.target.width].copy()

    def _guidance(self, recipe: Recipe, request: CreativeRequest, kit: Kit) -> Guidance:
        adapted = tuple((each.lora.name, each.text) for each in kit.loras)
        wanted, _ = take_tags(recipe.prompt)
        unwanted, _ = take_tags(request.negative_prompt)
        return Guidance(
            wanted=kit.texts.condition(wanted, field="prompt", adapted=adapted),
            unwanted=kit.texts.condition(unwanted, field="negative_prompt", adapted=adapted),
            scale=recipe.guidance,
        )

    def _denoiser(
        self,
        worked: Pixels,
        guidance: Guidance,
        recipe: Recipe,
        kit: Kit,
        stages: Stages,
        steps: int,
    ) -> TiledDenoiser:
        height, width = (side // 8 for side in worked.shape[:2])
        mosaic = self.mosaic(height, width, divisor=stages.context.tile_divisor)
        networks = kit.model.steered
        hints = None
        if recipe.firmness and networks.controlnet is not None:
            hint = control_hint(worked, recipe.working).to(kit.model.device).contiguous()
            hints = embed_hints(networks, hint, mosaic)
        return TiledDenoiser(
            networks=networks,
            levels=self.levels,
            mosaic=mosaic,
            hints=hints,
            guidance=guidance,
            strengths=strengths(networks.outputs, firmness=recipe.firmness),
            on_call=stages.counter(calls_of(mosaic, guidance, steps), ENCODED, DENOISED),
            sizes=_sizes(recipe.working).to(kit.model.device),
        )

    def mosaic(self, height: int, width: int, *, divisor: int = 1) -> Mosaic:
        """Return the tiles of a latent of `height` x `width` cells."""
        side = max(LEAST_TILE, self.options.tile_of(self.variant) // divisor)
        boxes = spread(height, width, tile_height=side, tile_width=side, overlap=OVERLAP)
        weights = side_bell(boxes[0].rows.length, boxes[0].columns.length).float()
        return Mosaic(
            boxes=boxes,
            weights=weights.to(self.model.device),
            at_once=balanced(len(boxes), self.options.tile_batch),
        )

    def _vae_tile(self, stages: Stages) -> int:
        return stages.context.divided(self.options.vae_tile, least=128)

    def _is_flagged(self, pixels: Pixels, request: CreativeRequest, stages: Stages) -> bool:
        if self.safety is None or not request.enable_safety_checks:
            return False
        stages.context.check_cancelled()
        return self.safety.flags(pixels)


@contextmanager
def _blaming_nan(brought: Brought) -> Iterator[None]:
    """Make it the request's fault where networks make no numbers with weights that it brought."""
    try:
        yield
    except NotFinite as exc:
        if not brought.fields:
            raise
        field = brought.fields[0]
        reason = f"{field}: with {' and '.join(brought.fields)} the networks make NaN or infinity"
        raise ArgumentInvalid(reason, field=field) from exc


def _shapes(options: CreativeOptions, variant: str) -> Shapes:
    """Return those that are compiled for: batches with and without the prompt among them."""
    side = options.tile_of(variant)
    return Shapes(height=side, width=side, batch=2 * options.tile_batch)


def _grown(pixels: Pixels, size: Size) -> Pixels:
    """Let the right and the bottom border go on to a size; see `models.canvas.pad_to_multiple`."""
    height, width = pixels.shape[:2]
    more = ((0, size.height - height), (0, size.width - width), (0, 0))
    return cast("Pixels", np.pad(pixels, more, mode="edge"))


def _sizes(size: Size) -> Tensor:
    """Return what Stable Diffusion XL is told of sizes, for every tile that of the whole.

    `(1, 6)` float32: height and width before cropping, where it was cut, and what was aimed at.
    """
    height, width = float(size.height), float(size.width)
    return torch.tensor([[height, width, 0.0, 0.0, height, width]])
