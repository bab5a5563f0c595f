"""Windows, weights of tiles, and colours."""

from collections.abc import Iterator
from itertools import islice

import torch

from models import colorfix
from models.chain_of_zoom.window import boxes
from models.image import from_tensor
from models.schema import Size
from models.tiling.fuse import side_bell
from tests.goldens.case import Case
from tests.goldens.comparison import Comparison, Tolerance, agree, compare, skip

WEIGHTS = Tolerance(absolute=1e-12)
COLOUR = Tolerance(absolute=1e-5)
LEVEL = Tolerance(absolute=1)


def check_boxes(case: Case) -> Iterator[Comparison]:
    """Find the windows of many zooms."""
    for each in case.config["centre_crop"]:
        size = Size(*each["size"])
        found = next(boxes(size, (0.5, 0.5), 1, factor=each["upscale"]))
        even = all(side % (2 * each["upscale"]) == 0 for side in size)
        name = f"{size.width}x{size.height} by {each['upscale']}"
        if even:
            yield agree(name, list(found), each["box"])
        else:
            yield skip(name, "working sizes are multiples of 16")
    for each in case.config["off_centre"]:
        size, centre = Size(*each["size"]), tuple(each["center"])
        found = boxes(size, centre, each["steps"], factor=each["factor"])
        name = f"{size.width}x{size.height} at {centre}"
        expected = [one["box"] for one in each["boxes"]]
        yield agree(name, [list(box) for box in islice(found, len(expected))], expected)
    yield skip("onestep_crop", "a baseline that nobody is offered")
    yield skip("resize_and_center_crop", "the product works on the whole picture")


def check_weights(case: Case) -> Iterator[Comparison]:
    """Weigh the pixels of tiles."""
    for name, expected in case.outputs.items():
        yield compare(name, side_bell(*expected.shape), expected, WEIGHTS)


def check_colours(case: Case) -> Iterator[Comparison]:
    """Give a picture another's colours."""
    source, target = (
        case.inputs[f"{name}_uint8"].permute(2, 0, 1)[None].float() / 255
        for name in ("source", "target")
    )
    for name, fix in (("adain", colorfix.adain), ("wavelet", colorfix.wavelet)):
        made = fix(target, source)
        yield compare(name, made, case.outputs[name], COLOUR)
        levels = torch.from_numpy(from_tensor(made[0], truncated=True).copy())
        yield compare(f"{name}_uint8", levels, case.outputs[f"{name}_uint8"], LEVEL)
