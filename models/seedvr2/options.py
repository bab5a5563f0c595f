"""What an operator may choose about SeedVR2. Torch-free."""

from enum import StrEnum

from pydantic import Field

from models.options import NoOptions


class Offload(StrEnum):
    """What lies in the host's memory and visits the device only for its own work."""

    NONE = "none"
    """Nothing: the quickest."""
    BLOCKS = "blocks"
    """The transformer's blocks, one computing while the next arrives."""


class Weights(StrEnum):
    """How the weights of the transformer's linear layers are held; they compute as ever."""

    WIDE = "wide"
    """In the dtype that is computed in."""
    FP8 = "fp8"
    """In 8 bits where the published file has them so, and wide elsewhere."""
    INT8 = "int8"
    """Rounded to 8 bits when they are loaded, with a scale for each output channel."""


class SeedVr2Options(NoOptions):
    """How much of the device's memory is bought with time or precision."""

    offload: Offload = Field(default=Offload.NONE)
    weights: Weights = Field(default=Weights.WIDE)
