"""What an operator may choose about Chain-of-Zoom. Torch-free."""

from enum import StrEnum

from pydantic import Field

from models.chain_of_zoom.weights import LANGUAGE
from models.checkpoint.manifest import Part, Variant
from models.options import NoOptions


class ColorFix(StrEnum):
    """How each frame keeps the colours of what it was made from."""

    NONE = "none"
    """The networks' own colours, as upstream; they drift in long chains."""
    WAVELET = "wavelet"
    """All that is coarser than some 30 pixels comes from before the step."""
    ADAIN = "adain"
    """Mean and deviation of each channel come from before the step."""


class Prompter(StrEnum):
    """Who writes the prompt of each step."""

    NULL = "null"
    """Nobody: it is the user's own, or empty."""
    VLM = "vlm"
    """A language model that looks at the last frame and the next, as upstream; then the user."""


class ChainOfZoomOptions(NoOptions):
    """Colours, and prompts."""

    color_fix: ColorFix = Field(default=ColorFix.NONE)
    prompter: Prompter = Field(default=Prompter.NULL)

    def parts(self, variant: Variant) -> tuple[Part, ...]:
        """Return the files that these choices need."""
        if self.prompter is Prompter.VLM:
            return variant.parts
        return tuple(part for part in variant.parts if part not in LANGUAGE)
