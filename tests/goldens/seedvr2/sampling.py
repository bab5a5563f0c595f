"""The sampler, the condition, and how pictures are prepared and their colours kept."""

from collections.abc import Iterator
from math import sqrt

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from models import colorfix
from models.seedvr2 import sampler
from tests.goldens.case import Case
from tests.goldens.comparison import Comparison, Tolerance, compare, skip

FLOAT32 = Tolerance(absolute=1e-4, relative=1e-4)
COLOUR = Tolerance(absolute=1e-5)
RANKS = Tolerance(absolute=2e-3)

ONE_STEP = "the published models are distilled to one step"


def check_sampler(case: Case) -> Iterator[Comparison]:
    """One step, the shift of timesteps, and the network's input."""
    for name, expected in case.outputs.items():
        kind, value = name.split("/")
        if kind == "cfg":
            yield skip(name, "the published models are distilled without guidance")
        elif kind == "transform":
            rows = case.inputs["transform/shape_and_scale"].tolist()
            yield compare(name, torch.tensor([_shift(*row) for row in rows]), expected, FLOAT32)
        elif kind == "cond":
            yield from _check_condition(case, name, float(value.removeprefix("scale")))
        elif kind != "steps1":
            yield skip(name, ONE_STEP)
        elif value == "timesteps":
            yield compare(name, torch.tensor([sampler.LAST]), expected, FLOAT32)
        else:
            noise, (velocity,) = case.inputs["steps1/x"], case.inputs["steps1/preds"]
            yield compare(name, sampler.clean_latent(noise, velocity), expected, FLOAT32)


def _shift(frames: float, rows: float, columns: float, scale: float) -> float:
    return sampler.shift_timestep(
        scale * sampler.LAST, frames=int(frames), rows=int(rows), columns=int(columns)
    )


def _check_condition(case: Case, name: str, scale: float) -> Iterator[Comparison]:
    latent, noise, added = (
        case.inputs[f"cond/{each}"][0] for each in ("latent", "noise", "aug_noise")
    )
    timestep = sampler.upstream_timestep(scale, *latent.shape[:2])
    recorded = f"cond/t_{name.removeprefix('cond/')}"
    yield compare(recorded, torch.tensor([timestep]), case.intermediate[recorded], FLOAT32)
    condition = sampler.add_noise(latent, added, timestep)
    cells = sampler.network_input(noise, condition)
    yield compare(name, cells[None], case.outputs[name], FLOAT32)


def check_colours(case: Case) -> Iterator[Comparison]:
    """All ways to keep colours that the product has."""
    picture, source = case.inputs["content"], case.inputs["style"]
    radius = max(1, min(picture.shape[2:]) // 8)
    capped = colorfix.wavelet(picture, source, most_radius=radius).clamp(-1, 1)
    values = {
        "wavelet_upstream": (colorfix.wavelet(picture, source), COLOUR),
        "wavelet_port": (capped, COLOUR),
        "adain_port": (colorfix.adain(picture, source), COLOUR),
        "lab_port": (colorfix.lab(picture, source), RANKS),
        "lab_port_lum1": (colorfix.lab(picture, source, lightness_kept=1.0), RANKS),
    }
    low = colorfix.blurred(picture)
    yield compare("content_low", low, case.intermediate["content_low"], COLOUR)
    yield compare("style_lab", colorfix.to_lab(source), case.intermediate["style_lab"], RANKS)
    for name, expected in case.outputs.items():
        if name in values:
            actual, tolerance = values[name]
            yield compare(name, actual, expected, tolerance)
        else:
            yield skip(name, "the product offers wavelet, lab and adain")


def check_transforms(case: Case) -> Iterator[Comparison]:
    """Upstream's preparation of a picture."""
    for index, sizes in enumerate(case.config["cases"]):
        pixels = case.inputs[f"{index}/rgb_u8"]
        size = upstream_size(*pixels.shape[2:], sizes["res_h"] * sizes["res_w"])
        resized = torch.tensor(size)
        yield compare(
            f"{index}/resized_size",
            resized,
            case.outputs[f"{index}/resized_size"],
            Tolerance(),
        )
        prepared = upstream_prepare(pixels, sizes["res_h"] * sizes["res_w"])
        yield compare(f"{index}/norm", prepared, case.outputs[f"{index}/norm"], FLOAT32)


def check_port_transforms(case: Case) -> Iterator[Comparison]:
    """The port's preparation of a picture."""
    for index, sizes in enumerate(case.config["cases"]):
        pixels = case.inputs[f"{index}/rgb_u8"]
        size, prepared = port_prepare(pixels, sizes["resolution"], sizes["max_resolution"])
        even = torch.tensor([side - side % 2 for side in size])  # as video codecs want it
        yield compare(f"{index}/true_size", even, case.outputs[f"{index}/true_size"], Tolerance())
        yield compare(f"{index}/norm", prepared, case.outputs[f"{index}/norm"], FLOAT32)


def port_prepare(pixels: Tensor, shortest: int, longest: int) -> tuple[tuple[int, int], Tensor]:
    """Resample `(1, 3, h, w)` uint8 to a shorter side, then down to a longer one if it is not 0.

    Returns:
        The size, and the picture in [-1, 1] with black up to multiples of 16 around it.
    """
    height, width = pixels.shape[2:]
    short = min(height, width)
    size = tuple(
        shortest if side == short else int(shortest * side / short) for side in (height, width)
    )
    floats = _resample(pixels / 255, size)
    if longest and max(size) > longest:
        size = tuple(round(side * longest / max(size)) for side in size)
        floats = _resample(floats, size)
    padding = (0, -size[1] % 16, 0, -size[0] % 16)
    return (size[0], size[1]), pad(floats.clamp(0, 1), padding) * 2 - 1


def _resample(floats: Tensor, size: tuple[int, ...]) -> Tensor:
    return interpolate(floats, size=size, mode="bicubic", antialias=True)


def upstream_size(height: int, width: int, area: int) -> tuple[int, int]:
    """Return the size to which upstream resamples: of that area, in the picture's proportions."""
    scale = sqrt(area / (height * width))
    return round(height * scale), round(width * scale)


def upstream_prepare(pixels: Tensor, area: int) -> Tensor:
    """Resample `(1, 3, h, w)` uint8, cut the middle to multiples of 16, and scale to [-1, 1]."""
    size = upstream_size(*pixels.shape[2:], area)
    floats = _resample(pixels / 255, size).clamp(0, 1)
    height, width = (side - side % 16 for side in size)
    top, left = round((size[0] - height) / 2), round((size[1] - width) / 2)
    return floats[..., top : top + height, left : left + width] * 2 - 1
