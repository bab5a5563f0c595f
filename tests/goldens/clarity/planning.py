"""Passes, and what of upstream the product leaves out."""

from collections.abc import Iterator

from models.clarity.passes import plan
from models.schema import Size
from models.tiling.pooled import DECODER_MARGIN, ENCODER_MARGIN, split
from tests.goldens.case import Case
from tests.goldens.comparison import Comparison, agree, skip


def check_passes(case: Case) -> Iterator[Comparison]:
    """Plan the passes of many enlargements."""
    for each in case.config["cases"]:
        size = Size(each["width"], each["height"])
        name = f"{size.width}x{size.height} by {each['scale']}"
        if each["multistep_factor"] != 0.8:
            yield skip(name, "no endpoint lets the factor be chosen")
            continue
        made = plan(size, factor=each["scale"], creativity=each["creativity"], seed=each["seed"])
        found = [
            (round(one.factor, 9), round(one.strength, 9), one.seed, list(one.size)) for one in made
        ]
        expected = [
            (
                round(one["multiplier"], 9),
                round(one["denoising_strength"], 9),
                one["seed"],
                one["out"],
            )
            for one in each["passes"]
        ]
        yield agree(name, found, expected)


def check_vae_boxes(case: Case) -> Iterator[Comparison]:
    """Part pictures and latents as upstream's tiled autoencoder does."""
    for each in case.config["cases"]:
        name = f"{each['w']}x{each['h']} in {each['tile']}"
        margin = DECODER_MARGIN if each["decoder"] else ENCODER_MARGIN
        used = max(each["w"], each["h"]) > each["tile"] + 2 * margin
        yield agree(f"{name}, tiled", used, each["tiling_used"])
        if not used:
            continue
        up, down = (8, 1) if each["decoder"] else (1, 8)
        columns, rows = (
            split(each[side], tile=each["tile"], margin=margin, up=up, down=down)
            for side in ("w", "h")
        )
        places = [(across, along) for along in rows for across in columns]
        given = [[*across.given, *along.given] for across, along in places]
        made = [[*across.made, *along.made] for across, along in places]
        yield agree(f"{name}, read", given, each["input_boxes_x0x1y0y1"])
        yield agree(f"{name}, written", made, each["output_boxes_x0x1y0y1"])


def check_schedule(case: Case) -> Iterator[Comparison]:
    """Say why no schedules are read from prompts."""
    yield skip(case.name, "prompt editing and AND are not offered; such brackets are attention")
