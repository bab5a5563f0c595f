"""The request of ``fal-ai/seedvr/upscale/image``. Torch-free."""

from enum import StrEnum

from pydantic import Field

from models.errors import ArgumentInvalid
from models.schema import OutputFormat, Size, UpscaleRequest

MULTIPLE = 16
"""Pixels along each side of a token; sides are padded to whole ones."""


class UpscaleMode(StrEnum):
    """How the size of the result is chosen."""

    TARGET = "target"
    """By `target_resolution`."""
    FACTOR = "factor"
    """By `upscale_factor`."""


class TargetResolution(StrEnum):
    """The shorter side of the result."""

    P720 = "720p"
    P1080 = "1080p"
    P1440 = "1440p"
    P2160 = "2160p"

    @property
    def pixels(self) -> int:
        """The shorter side in pixels."""
        return int(self.value.removesuffix("p"))


class Variant(StrEnum):
    """Which published weights do the work."""

    B3 = "3b"
    """3.4 billion parameters; gentler."""
    B7 = "7b"
    """8.2 billion parameters."""
    B7_SHARP = "7b_sharp"
    """As many, trained for sharper results; can overdo it on pictures that are nearly clean."""


class ColorFix(StrEnum):
    """How the result is given the colours of its source."""

    WAVELET = "wavelet"
    """All that is coarser than some 30 pixels comes from the source."""
    LAB = "lab"
    """After that, the distribution of hues is matched as well."""
    NONE = "none"
    """The network's own colours."""


class SeedVr2Request(UpscaleRequest):
    """What to enlarge, by how much, and how."""

    upscale_mode: UpscaleMode = Field(
        default=UpscaleMode.FACTOR,
        description="factor enlarges by `upscale_factor`, target up to `target_resolution`.",
    )
    upscale_factor: float = Field(
        default=2.0,
        ge=1.0,
        le=10.0,
        description="How many times longer each side becomes; read where the mode is factor.",
    )
    target_resolution: TargetResolution = Field(
        default=TargetResolution.P1080,
        description=(
            "The shorter side of the result, so its height if the picture is wide and its width if "
            "it is tall; read where the mode is target. A picture whose shorter side is longer "
            "already is refused: nothing would be enlarged."
        ),
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description="The same seed makes the same result of the same picture; drawn if missing.",
    )
    noise_scale: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description=(
            "How much of the picture is hidden from the network, which invents it anew: 0 is the "
            "most faithful, above 0.5 little of the picture is left."
        ),
    )
    output_format: OutputFormat = Field(
        default=OutputFormat.JPG, description="How the result is stored."
    )
    sync_mode: bool = Field(
        default=False,
        description="Answer a request over HTTP with the image itself; elsewhere it means nothing.",
    )
    variant: Variant = Field(default=Variant.B3, description="Which weights do the work.")
    color_fix: ColorFix = Field(
        default=ColorFix.WAVELET, description="How the result keeps the colours of its source."
    )
    tile_size: int = Field(
        default=1024,
        ge=128,
        le=8192,
        multiple_of=16,
        description=(
            "Longest side, in pixels, of what the autoencoder works on at once. It bounds memory; "
            "the result is the same but for rounding."
        ),
    )

    def output_size(self, size: Size) -> Size:
        """Return the size of the result: sides are rounded to the nearest pixel, halves up.

        Raises:
            ArgumentInvalid: The picture is larger than `target_resolution` already.
        """
        if self.upscale_mode is UpscaleMode.FACTOR:
            return Size(*(int(side * self.upscale_factor + 0.5) for side in size))
        shorter, target = min(size), self.target_resolution.pixels
        if shorter > target:
            message = (
                f"target_resolution: {self.target_resolution.value} is a shorter side of {target} "
                f"pixels, and the picture of {size.width}x{size.height} has {shorter} already; "
                "choose a higher one, or set upscale_mode to factor"
            )
            raise ArgumentInvalid(message, field="target_resolution")
        # In integers: the shorter side comes out as the target exactly, whatever its length.
        return Size(*((2 * side * target + shorter) // (2 * shorter) for side in size))

    def working_size(self, size: Size) -> Size:
        """Return the size of the result, padded to whole tokens."""
        return Size(*(-(-side // MULTIPLE) * MULTIPLE for side in self.output_size(size)))

    def encoding(self) -> OutputFormat:
        """Return the requested format."""
        return self.output_format
