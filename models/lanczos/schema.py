"""The request of ``enlarger/lanczos``."""

from pydantic import Field

from models.schema import OutputFormat, Size, UpscaleRequest


class LanczosRequest(UpscaleRequest):
    """What to enlarge, by how much, and how to store it."""

    scale: float = Field(
        default=2.0,
        ge=0.1,
        le=16.0,
        description=(
            "How many times longer each side becomes: any factor, fractions too; below 1 shrinks. "
            "Beyond these bounds a photograph is a thumbnail or a blur."
        ),
    )
    output_format: OutputFormat = Field(
        default=OutputFormat.PNG, description="How the result is stored."
    )

    def output_size(self, size: Size) -> Size:
        """Round each enlarged side to the nearest pixel, halves up, and to no less than one."""
        return Size(*(max(1, int(side * self.scale + 0.5)) for side in size))

    def encoding(self) -> OutputFormat:
        """Return the requested format."""
        return self.output_format
