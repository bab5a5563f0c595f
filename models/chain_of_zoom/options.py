"""What an operator may choose about Chain-of-Zoom. Torch-free."""

from enum import StrEnum

from pydantic import Field

from models.options import NoOptions


class ColorFix(StrEnum):
    """How each frame keeps the colours of what it was made from."""

    NONE = "none"
    """The networks' own colours, as upstream; they drift in long chains."""
    WAVELET = "wavelet"
    """All that is coarser than some 30 pixels comes from before the step."""
    ADAIN = "adain"
    """Mean and deviation of each channel come from before the step."""


class ChainOfZoomOptions(NoOptions):
    """Colours."""

    color_fix: ColorFix = Field(default=ColorFix.NONE)
