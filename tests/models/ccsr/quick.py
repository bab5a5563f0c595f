"""CCSR itself, quickly: on tiles of 64 pixels and in few steps, where defaults take 512 and 17."""

from dataclasses import dataclass
from typing import Any, Self

from models.ccsr.options import CcsrOptions
from models.ccsr.pipeline import CcsrUpscaler
from models.checkpoint.manifest import LocalWeights
from models.image import Picture
from models.upscaler import Context, Result

SMALLER = {
    "tile_diffusion": "gaussian",
    "tile_diffusion_size": 64,
    "tile_diffusion_stride": 64,
    "steps": 10,
    "t_max": 0.7,
    "t_min": 0.6,
}


@dataclass
class QuickCcsr:
    """A pipeline that an endpoint of the catalogue can name."""

    real: CcsrUpscaler

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: CcsrOptions, device: str, dtype: str
    ) -> Self:
        return cls(CcsrUpscaler.load(weights, options=options, device=device, dtype=dtype))

    def upscale(self, picture: Picture, request: Any, context: Context) -> Result:
        return self.real.upscale(picture, request.model_copy(update=SMALLER), context)
