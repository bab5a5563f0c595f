"""Lanczos with what others have and it has not: `sync_mode`, and steps that take their time."""

import time
from dataclasses import replace
from typing import Self

from pydantic import Field

from models import catalog
from models.checkpoint.manifest import LocalWeights
from models.image import Picture
from models.lanczos.pipeline import LanczosUpscaler
from models.lanczos.schema import LanczosRequest
from models.options import NoOptions
from models.upscaler import Context, Result

ENDPOINT = "enlarger/lanczos"
SLOW = 1.5
"""The scale that stands for steps of diffusion."""
STEPS = 20
STEP_S = 0.1


class SteppedRequest(LanczosRequest):
    """Lanczos' own, and `sync_mode`."""

    sync_mode: bool = Field(default=False, description="Answer with the image itself.")


class SteppedUpscaler:
    """Lanczos, after steps that can be followed and cancelled."""

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: NoOptions, device: str, dtype: str
    ) -> Self:
        return cls()

    def upscale(self, picture: Picture, request: SteppedRequest, context: Context) -> Result:
        for step in range(STEPS if request.scale == SLOW else 0):
            context.check_cancelled()
            context.progress(step / STEPS, "denoising")
            time.sleep(STEP_S)
        lanczos = LanczosUpscaler.load(None, options=NoOptions(), device="cpu", dtype="float32")
        return lanczos.upscale(picture, request, context)


def stepped() -> catalog.Endpoint:
    """Return the catalogue's entry with the classes above."""
    return replace(
        catalog.ENDPOINTS[ENDPOINT],
        schema=f"{__name__}:{SteppedRequest.__name__}",
        pipeline=f"{__name__}:{SteppedUpscaler.__name__}",
    )
