"""What an operator may choose about CCSR. Torch-free."""

from enum import StrEnum

from pydantic import Field

from models.options import NoOptions


class TiledVae(StrEnum):
    """What `tile_vae` of a request does."""

    SEAMLESS = "seamless"
    """Bounds the memory of encoder and decoder; the result is the untiled one."""
    UPSTREAM = "upstream"
    """Tiles the decoder as upstream does, which shows in the result, and not the encoder."""


class CcsrOptions(NoOptions):
    """How the networks run.

    Attributes:
        tiled_vae: Ours, or upstream to the letter.
        compiled: Whether UNet and ControlNet are compiled for the commonest shapes of tiles.
    """

    tiled_vae: TiledVae = Field(default=TiledVae.SEAMLESS)
    compiled: bool = Field(default=False)
