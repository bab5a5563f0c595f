"""The request of ``fal-ai/creative-upscaler``. Torch-free."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from models.creative.recipe import padded, restoration, target
from models.errors import ArgumentInvalid, ImageTooLarge, ImageTooSmall
from models.schema import FileField, OutputFormat, Size, UpscaleRequest

LONGEST_INPUT = 2048
"""Pixels of the input's longer side, unless the limits are overridden."""
MOST_PIXELS = 4096 * 4096
"""Of a result, likewise."""
MOST_PIXELS_OVERRIDDEN = 100_000_000
LONGEST_SIDE = 16_384
"""Pixels of a side of a result, in any case."""
LEAST_SIDE = 16
"""Pixels of a side of the input."""
MOST_ASPECT = 16
"""How many times longer than the other a side may be."""


GIBIBYTE = 2**30

BaseUrl = Annotated[str, FileField(weights_bytes=8 * GIBIBYTE), Field(min_length=1)]
LoraUrl = Annotated[str, FileField(weights_bytes=2 * GIBIBYTE), Field(min_length=1)]
EmbeddingUrl = Annotated[str, FileField(weights_bytes=GIBIBYTE // 16), Field(min_length=1)]


class ModelType(StrEnum):
    """The generations of Stable Diffusion that can."""

    SD_1_5 = "SD_1_5"
    SDXL = "SDXL"


class CreativeRequest(UpscaleRequest):
    """What to enlarge, by how much, and how freely."""

    model_type: ModelType = Field(
        default=ModelType.SD_1_5, description="Which Stable Diffusion adds the detail."
    )
    prompt: str | None = Field(
        default=None,
        max_length=20_000,
        description=(
            "What the picture shows, or how it should be; if missing, a caption of the picture. "
            "(word:1.3) weighs more, [word] less."
        ),
    )
    scale: float = Field(
        default=2.0, ge=1.0, le=5.0, description="How many times longer each side becomes."
    )
    creativity: float = Field(
        default=0.5,
        ge=0.0,
        le=1.0,
        description="How far the result may leave the picture; more invents more.",
    )
    detail: float = Field(
        default=1.0, ge=0.0, le=5.0, description="How much fine detail is added; 1 is the usual."
    )
    shape_preservation: float = Field(
        default=0.25,
        ge=0.0,
        le=3.0,
        description="How firmly the shapes of the picture steer the result; 0 for not at all.",
    )
    prompt_suffix: str = Field(
        default=" high quality, highly detailed, high resolution, sharp",
        max_length=20_000,
        description="Follows the prompt, or the caption, as it stands.",
    )
    negative_prompt: str = Field(
        default=(
            "blurry, low resolution, bad, ugly, low quality, pixelated, interpolated, "
            "compression artifacts, noisey, grainy"
        ),
        max_length=20_000,
        description="What the picture should not be like; the same syntax.",
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**32,
        description="The same seed makes the same result of the same picture; drawn if missing.",
    )
    guidance_scale: float = Field(
        default=7.5,
        ge=0.0,
        le=16.0,
        description="How closely the prompt is followed; up to 1, the negative one is not.",
    )
    num_inference_steps: int = Field(
        default=20,
        ge=1,
        le=200,
        description="Of the whole schedule; `creativity` says how much of it is run.",
    )
    enable_safety_checks: bool = Field(
        default=True, description="Return a black picture instead of one that is not safe for work."
    )
    skip_ccsr: bool = Field(
        default=False,
        description="Do not restore the picture by CCSR before detail is added; enlarge it only.",
    )
    override_size_limits: bool = Field(
        default=False,
        description=(
            f"Take inputs of more than {LONGEST_INPUT} pixels a side and make results of more than "
            f"{MOST_PIXELS / 1e6:.1f} megapixels, up to {MOST_PIXELS_OVERRIDDEN // 10**6}."
        ),
    )
    base_model_url: BaseUrl | None = Field(
        default=None,
        description="A checkpoint of the chosen Stable Diffusion to use instead of the usual one.",
    )
    additional_lora_url: LoraUrl | None = Field(
        default=None, description="A LoRA for the chosen Stable Diffusion."
    )
    additional_lora_scale: float = Field(
        default=1.0, ge=-2.0, le=2.0, description="How much of that LoRA is added."
    )
    additional_embedding_url: EmbeddingUrl | None = Field(
        default=None,
        description=(
            "A textual inversion; its file's name, without suffix, stands for it in prompts."
        ),
    )
    output_format: OutputFormat = Field(
        default=OutputFormat.PNG, description="How the result is stored."
    )

    def check_size(self, size: Size) -> None:
        """Refuse a picture that is too large, too small or too narrow."""
        if min(size) < LEAST_SIDE:
            raise ImageTooSmall(*size, least=LEAST_SIDE)
        if max(size) > MOST_ASPECT * min(size):
            raise ImageTooLarge(
                f"{size.width}x{size.height} is too narrow; the longer side may be at most "
                f"{MOST_ASPECT} times the shorter one; cut the picture into parts"
            )
        if max(size) > LONGEST_INPUT and not self.override_size_limits:
            raise ImageTooLarge(
                f"{size.width}x{size.height} has a side of more than {LONGEST_INPUT} pixels; make "
                "it smaller, or set override_size_limits to true"
            )
        self._check_output(self.output_size(size))

    def _check_output(self, size: Size) -> None:
        overridden = self.override_size_limits
        most = MOST_PIXELS_OVERRIDDEN if overridden else MOST_PIXELS
        made = f"scale: {self.scale:g} makes a result of {size.width}x{size.height}"
        if size.width * size.height > most:
            more = "" if overridden else ", or set override_size_limits to true"
            raise ArgumentInvalid(
                f"{made}, which has more than {most:,} pixels; choose a smaller scale{more}",
                field="scale",
            )
        if max(size) > LONGEST_SIDE:
            raise ArgumentInvalid(
                f"{made}, with a side of more than {LONGEST_SIDE:,} pixels; choose a smaller one",
                field="scale",
            )

    def output_size(self, size: Size) -> Size:
        """Return the size of the result: sides are rounded down."""
        return target(size, self.scale)

    def working_size(self, size: Size) -> Size:
        """Return the larger of what CCSR and what diffusion works on."""
        goal = self.output_size(size)
        sizes = [padded(goal)]
        if not self.skip_ccsr:
            sizes.append(restoration(goal).working_size(goal))
        return max(sizes, key=lambda each: each.width * each.height)

    def encoding(self) -> OutputFormat:
        """Return the requested format."""
        return self.output_format
