"""The request of ``fal-ai/chain-of-zoom``. Torch-free."""

from math import floor
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field

from models.errors import ArgumentInvalid
from models.schema import OutputFormat, PublishedImage, Size, UpscaleRequest

LEAST_SIDE, MOST_SIDE = 512, 1024
"""Pixels that the shorter side is worked on with: what the adapter was trained on, and what the
base model was."""
LONGEST = 2048
"""Pixels of the longer side; the shorter one of a long strip then has less than its least."""
MULTIPLE = 16
"""Pixels: a token of the transformer is two cells of eight."""
MOST_STEPS = 8
"""2**8 = 256 times: as far as upstream goes."""

MOST_PIXELS = 400_000_000
"""Of all pictures of a job together, which wait in memory for the last one."""


def _rounded(scale: float) -> float:
    """Round to whole steps, halves up.

    Raises:
        ValueError: That is no number of steps.
    """
    steps = floor(scale + 0.5)
    if not 1 <= steps <= MOST_STEPS:
        message = (
            f"{scale:g} is rounded to {steps} steps; give 1 to {MOST_STEPS}: "
            "each doubles the zoom, so that 5 is 32 times"
        )
        raise ValueError(message)
    return float(steps)


class ChainOfZoomRequest(UpscaleRequest):
    """Into which point to zoom, and how far."""

    scale: Annotated[float, AfterValidator(_rounded)] = Field(
        default=5.0,
        description=(
            "How far, as a power of 2: 5 zooms by 2**5 = 32, in 5 steps with a picture each. From "
            "1 to 8; fractions are rounded."
        ),
    )
    center_x: float = Field(
        default=0.5, ge=0.0, le=1.0, description="The point, from the left edge (0) to the right."
    )
    center_y: float = Field(
        default=0.5, ge=0.0, le=1.0, description="The point, from the upper edge (0) to the lower."
    )
    user_prompt: str = Field(
        default="", max_length=500, description="What the pictures show, in a few words."
    )
    seed: int | None = Field(
        default=None,
        ge=0,
        lt=2**63,
        description=(
            "The same seed makes the same pictures of the same one; if missing it follows from the "
            "picture and these arguments."
        ),
    )
    strip: bool = Field(
        default=False,
        description="Also store the source and all pictures side by side, to be looked at.",
    )
    sync_mode: bool = Field(
        default=False,
        description="Answer a request over HTTP with the images themselves; nothing elsewhere.",
    )

    @property
    def steps(self) -> int:
        """How many pictures are made, each of twice the zoom of the one before."""
        return int(self.scale)

    @property
    def zoom(self) -> float:
        """How many times longer a line is in the last picture than in the source."""
        return 2.0**self.steps

    def output_size(self, size: Size) -> Size:
        """Return the size of each picture: the source's own.

        Raises:
            ArgumentInvalid: All of them together are too large.
        """
        pixels = self.steps * size.width * size.height
        if pixels > MOST_PIXELS:
            message = (
                f"scale: {self.steps} pictures of {size.width}x{size.height} have {pixels:,} "
                f"pixels, the limit is {MOST_PIXELS:,}; choose a smaller scale or picture"
            )
            raise ArgumentInvalid(message, field="scale")
        return size

    def image_count(self) -> int:
        """Return how many pictures wait for the last one."""
        return self.steps

    def frame_size(self, size: Size) -> Size:
        """Return the size that all frames are worked on at: the source's, within the bounds.

        Both sides take the same factor, but for rounding, and the longest strips.
        """
        shorter = min(max(min(size), LEAST_SIDE), MOST_SIDE)
        ratio = min(shorter / min(size), LONGEST / max(size))
        return Size(*(max(round(side * ratio), MULTIPLE) for side in size))

    def working_size(self, size: Size) -> Size:
        """Return the size of a frame, padded to whole tokens."""
        return Size(*(padded_side(side) for side in self.frame_size(size)))

    def encoding(self) -> OutputFormat:
        """Return the format that the published endpoint answers with."""
        return OutputFormat.JPG


def padded_side(side: int) -> int:
    """Return the side of a frame in pixels, rounded up to whole tokens."""
    return -(-side // MULTIPLE) * MULTIPLE


class ChainOfZoomResult(BaseModel):
    """The pictures on the way, and where it led."""

    images: list[PublishedImage] = Field(
        description="One for each step, in order; the last one is the closest."
    )
    scale: float = Field(description="The zoom of the last one.", examples=[32.0])
    zoom_center: list[float] = Field(
        description="The point: from the left edge, and from the upper one.", examples=[[0.5, 0.5]]
    )
    seed: int = Field(description="What every random draw came from.", examples=[42])
    strip: PublishedImage | None = Field(
        default=None, description="All of them beside the source, where that was asked for."
    )
