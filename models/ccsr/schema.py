"""The request of ``fal-ai/ccsr``. Torch-free."""

from enum import StrEnum
from math import ceil

from pydantic import Field, ValidationInfo, field_validator

from models.schema import OutputFormat, Size, UpscaleRequest

CELL = 8
"""Pixels along each side of a latent cell."""

MULTIPLE = 64
"""Pixels: the networks halve the sides of a latent three times."""

LEAST_SIDE = 512
"""Pixels that the shorter side is worked on with at least: what the networks were trained on."""


class TileDiffusion(StrEnum):
    """Whether a picture is restored as a whole, or in overlapping tiles that are averaged."""

    NONE = "none"
    """As a whole: memory and time grow with the square of its area."""
    MIX = "mix"
    """All pixels of a tile count the same; each tile is decoded by itself."""
    GAUSSIAN = "gaussian"
    """A tile's middle counts most; the whole is decoded at once."""


class ColorFix(StrEnum):
    """How the result is given the colours of its source."""

    NONE = "none"
    """The networks' own colours."""
    WAVELET = "wavelet"
    """All that is coarser than some 30 pixels comes from the source."""
    ADAIN = "adain"
    """Mean and deviation of each channel come from the source."""


class CcsrRequest(UpscaleRequest):
    """What to enlarge, by how much, and how."""

    scale: float = Field(
        default=2.0, ge=1.0, le=4.0, description="How many times longer each side becomes."
    )
    tile_diffusion: TileDiffusion = Field(
        default=TileDiffusion.NONE,
        description="Restore the picture as a whole, or in tiles: for large ones.",
    )
    tile_diffusion_size: int = Field(
        default=1024,
        ge=64,
        le=8192,
        multiple_of=MULTIPLE,
        description="The side of a tile, in pixels of the size that is worked on.",
    )
    tile_diffusion_stride: int = Field(
        default=512,
        ge=CELL,
        le=8192,
        multiple_of=CELL,
        validate_default=True,
        description="Pixels from each tile to the next; not more than `tile_diffusion_size`.",
    )
    tile_vae: bool = Field(
        default=False, description="Encode and decode in tiles, which bounds memory."
    )
    tile_vae_decoder_size: int = Field(
        default=226,
        ge=16,
        le=1024,
        description="The side of a tile that is decoded, in latent cells of 8 pixels.",
    )
    tile_vae_encoder_size: int = Field(
        default=1024,
        ge=128,
        le=8192,
        multiple_of=32,
        description="The side of a tile that is encoded, in pixels.",
    )
    steps: int = Field(
        default=50,
        ge=10,
        le=100,
        description="Of the whole schedule; those between `t_min` and `t_max` are done.",
    )
    t_max: float = Field(
        default=0.6667,
        ge=0.0,
        le=1.0,
        description="Where the schedule is entered: 1 is pure noise. More invents more.",
    )
    t_min: float = Field(
        default=0.3333,
        ge=0.0,
        le=1.0,
        validate_default=True,
        description="Where it is left for the decoder, which was tuned to end it; below `t_max`.",
    )
    color_fix_type: ColorFix = Field(
        default=ColorFix.ADAIN, description="How the result keeps the colours of its source."
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description="The same seed makes the same result of the same picture; drawn if missing.",
    )
    output_format: OutputFormat = Field(
        default=OutputFormat.PNG, description="How the result is stored."
    )

    @field_validator("tile_diffusion_stride")
    @classmethod
    def _no_gaps(cls, stride: int, info: ValidationInfo) -> int:
        size = info.data.get("tile_diffusion_size")  # absent where it is invalid itself
        if size is not None and stride > size:
            message = (
                f"{stride} would leave gaps between tiles of {size} pixels; "
                f"give at most {size}, the tile_diffusion_size"
            )
            raise ValueError(message)
        return stride

    @field_validator("t_min")
    @classmethod
    def _some_steps(cls, t_min: float, info: ValidationInfo) -> float:
        steps, t_max = info.data.get("steps"), info.data.get("t_max")
        if steps is not None and t_max is not None and round(steps * t_min) >= round(steps * t_max):
            message = (
                f"no step of {steps} lies between {t_min:g} and the t_max of {t_max:g}; "
                "choose a smaller t_min, a larger t_max, or more steps"
            )
            raise ValueError(message)
        return t_min

    def output_size(self, size: Size) -> Size:
        """Return the size of the result: sides are rounded up, as upstream does."""
        return Size(*(ceil(side * self.scale) for side in size))

    def grown_size(self, size: Size) -> Size:
        """Return the size to which a result is brought that is too small for the networks."""
        size = self.output_size(size)
        tiled = self.tile_diffusion is not TileDiffusion.NONE
        least = self.tile_diffusion_size if tiled else LEAST_SIDE
        if min(size) >= least:
            return size
        ratio = least / min(size)
        return Size(*(ceil(side * ratio) for side in size))

    def working_size(self, size: Size) -> Size:
        """Return the size that is worked on: the result's or more, rounded down to multiples."""
        return Size(*(side // MULTIPLE * MULTIPLE for side in self.grown_size(size)))

    def encoding(self) -> OutputFormat:
        """Return the requested format."""
        return self.output_format
