"""The request of ``enlarger/esrgan``."""

from enum import StrEnum

from pydantic import Field

from models.schema import OutputFormat, Size, UpscaleRequest

SCALE = 4
"""What the networks of the family enlarge by."""


class Variant(StrEnum):
    """Whose weights."""

    ULTRASHARP = "ultrasharp"
    """4x-UltraSharp: crisp edges, for photographs and drawings."""
    REALESRGAN = "realesrgan"
    """RealESRGAN_x4plus: cleans up compressed and noisy pictures."""
    CUSTOM = "custom"
    """A checkpoint of the operator's own."""


class EsrganRequest(UpscaleRequest):
    """What to enlarge, by how much, and how to store it."""

    scale: float = Field(
        default=4.0,
        ge=1.0,
        le=4.0,
        description=(
            "How many times longer each side becomes. The network always makes 4; the way back to "
            "what is asked for is Lanczos resampling."
        ),
    )
    variant: Variant = Field(default=Variant.ULTRASHARP, description="Which weights to use.")
    output_format: OutputFormat = Field(
        default=OutputFormat.PNG, description="How the result is stored."
    )

    def output_size(self, size: Size) -> Size:
        """Round each enlarged side to the nearest pixel, halves up."""
        return Size(*(int(side * self.scale + 0.5) for side in size))

    def working_size(self, size: Size) -> Size:
        """Return four times the size, whatever factor is asked for."""
        return Size(*(side * SCALE for side in size))

    def encoding(self) -> OutputFormat:
        """Return the requested format."""
        return self.output_format
