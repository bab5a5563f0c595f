"""What a ControlNet for tiles is shown."""

from collections.abc import Iterator

from models.diffusion.hint import control_hint
from models.schema import Size
from tests.goldens.case import Case
from tests.goldens.comparison import Comparison, Tolerance, compare

LEVEL = Tolerance(absolute=1.001 / 255)
"""One level: OpenCV resamples in fixed point."""


def check_hint(case: Case) -> Iterator[Comparison]:
    """Fit a picture over a size."""
    size = Size(case.config["target_w"], case.config["target_h"])
    made = control_hint(case.inputs["image_rgb"].numpy(), size)
    yield compare("hint", made, case.outputs["hint"], LEVEL)
