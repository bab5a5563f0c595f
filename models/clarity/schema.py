"""The request of ``fal-ai/clarity-upscaler``. Torch-free."""

from pydantic import Field

from models.clarity.passes import plan
from models.schema import OutputFormat, SingleResult, Size, UpscaleRequest


class ClarityRequest(UpscaleRequest):
    """What to enlarge, by how much, and how freely."""

    prompt: str = Field(
        default="masterpiece, best quality, highres",
        max_length=20_000,
        description=(
            "What the picture shows, or how it should be. (word:1.3) weighs more, [word] less; "
            "<lora:name:0.5> adds a LoRA that the operator offers."
        ),
    )
    upscale_factor: float = Field(
        default=2.0,
        ge=1.0,
        le=4.0,
        description="How many times longer each side becomes, rounded down to multiples of 8.",
    )
    negative_prompt: str = Field(
        default="(worst quality, low quality, normal quality:2)",
        max_length=20_000,
        description="What the picture should not be like; the same syntax.",
    )
    creativity: float = Field(
        default=0.35,
        ge=0.0,
        le=1.0,
        description="How far the result may leave the picture; more invents more.",
    )
    resemblance: float = Field(
        default=0.6,
        ge=0.0,
        le=1.0,
        description="How firmly what the picture shows steers the result.",
    )
    guidance_scale: float = Field(
        default=4.0,
        ge=0.0,
        le=20.0,
        description="How closely the prompt is followed; too much burns colours.",
    )
    num_inference_steps: int = Field(
        default=18,
        ge=4,
        le=50,
        description="Of the whole schedule; `creativity` says how much of it is run.",
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**32,
        description="The same seed makes the same result of the same picture; drawn if missing.",
    )
    enable_safety_checker: bool = Field(
        default=True, description="Return a black picture instead of one that is not safe for work."
    )
    output_format: OutputFormat = Field(
        default=OutputFormat.PNG, description="How the result is stored."
    )

    def output_size(self, size: Size) -> Size:
        """Return the size of the last pass."""
        passes = plan(size, factor=self.upscale_factor, creativity=self.creativity, seed=0)
        return passes[-1].size

    def encoding(self) -> OutputFormat:
        """Return the requested format."""
        return self.output_format


class ClarityResult(SingleResult):
    """An enlarged image, and how long it took."""

    timings: dict[str, float] = Field(
        description="Seconds that each step took.", examples=[{"denoising": 21.5}]
    )
