"""An upscaler that takes its time, and dies of one kind of picture."""

import os
import signal
import time
from dataclasses import replace
from typing import Self

from models import catalog
from models.checkpoint.manifest import LocalWeights
from models.image import Picture, Pixels
from models.lanczos.pipeline import LanczosUpscaler
from models.lanczos.schema import LanczosRequest
from models.options import NoOptions
from models.upscaler import Context, Result
from tests.pictures import make_pixels

ENDPOINT = "enlarger/lanczos"
PACE_VARIABLE = "TEST_PACE_S"
POISON = (255, 0, 255)
"""A picture whose first pixel has this colour kills its process, like a crash in a driver."""


def poisoned() -> Pixels:
    """Return a picture that no worker survives."""
    pixels = make_pixels(20, 14)
    pixels[0, 0] = POISON
    return pixels


class PacedUpscaler:
    """Lanczos, after a wait that stands for the work of a device."""

    @classmethod
    def load(
        cls, weights: LocalWeights | None, *, options: NoOptions, device: str, dtype: str
    ) -> Self:
        return cls()

    def upscale(self, picture: Picture, request: LanczosRequest, context: Context) -> Result:
        if tuple(picture.pixels[0, 0]) == POISON:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(os.environ[PACE_VARIABLE]))
        lanczos = LanczosUpscaler.load(None, options=NoOptions(), device="cpu", dtype="float32")
        return lanczos.upscale(picture, request, context)


def put_in_place() -> None:
    """Let the catalogue of this process name the class above."""
    pipeline = f"{PacedUpscaler.__module__}:{PacedUpscaler.__name__}"
    catalog.ENDPOINTS[ENDPOINT] = replace(catalog.ENDPOINTS[ENDPOINT], pipeline=pipeline)
