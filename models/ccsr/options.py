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
    """Ours, or upstream to the letter."""

    tiled_vae: TiledVae = Field(default=TiledVae.SEAMLESS)
