"""The request of ``enlarger/compact``."""

from enum import StrEnum

from pydantic import Field

from models.schema import OutputFormat, Size, UpscaleRequest


class Variant(StrEnum):
    """Which kind of pictures the weights were trained for."""

    PHOTO = "photo"
    """As cameras and the web have them: JPEG files, slightly soft."""
    CLEAN = "clean"
    """Pristine: renderings, scans, pictures that were only ever made smaller."""


class CompactRequest(UpscaleRequest):
    """What to enlarge, by how much, and how to store it."""

    scale: float = Field(
        default=2.0,
        ge=1.0,
        le=8.0,
        description=(
            "How many times longer each side becomes: any factor, fractions too. The network makes "
            "2, 4 or 8, whichever is the next that is large enough; the rest of the way is Lanczos "
            "resampling down."
        ),
    )
    variant: Variant = Field(
        default=Variant.PHOTO,
        description=(
            "photo removes the traces of JPEG compression and of a soft lens as it enlarges; "
            "clean keeps all that is there, and sharpens those traces where there are any."
        ),
    )
    output_format: OutputFormat = Field(
        default=OutputFormat.PNG, description="How the result is stored."
    )

    def output_size(self, size: Size) -> Size:
        """Round each enlarged side to the nearest pixel, halves up."""
        return Size(*(int(side * self.scale + 0.5) for side in size))

    def encoding(self) -> OutputFormat:
        """Return the requested format."""
        return self.output_format
