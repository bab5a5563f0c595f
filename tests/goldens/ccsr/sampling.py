"""The schedule, the walk with its tiles, and the colours."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from models import colorfix
from models.ccsr.recipe import Recipe
from models.ccsr.restorer import Restorer
from models.ccsr.sampler import Walk, descend
from models.ccsr.schema import ColorFix, TileDiffusion
from models.diffusion.noise import RecordedNoise
from models.diffusion.schedule import trained_betas
from models.tiling.fuse import bell, windows
from tests.goldens.case import Case
from tests.goldens.ccsr.networks import build_restorer
from tests.goldens.comparison import EXACT, Comparison, Tolerance, compare

RELATIVE = Tolerance(absolute=1e-9, relative=1e-6)
EPS = Tolerance(absolute=1e-4)
LATENT = Tolerance(absolute=2e-3)
PIXELS = Tolerance(absolute=1e-3)
COLOUR = Tolerance(absolute=1e-5)

ALL = 2**20
"""No picture of a case has longer sides: it is encoded and decoded as a whole."""


def check_schedule(case: Case) -> Iterator[Comparison]:
    """Compute timesteps, coefficients, and where walks begin and end."""
    steps = int(case.inputs["steps"])
    walks = [
        Walk.plan(steps=steps, t_max=t_max, t_min=t_min)
        for t_max, t_min in case.config["combos_tmax_tmin"]
    ]
    values = _coefficients(walks[0])
    for number, walk in enumerate(walks):
        values |= _ends(walk, f"combo{number}/")
    for name, expected in case.outputs.items():
        tolerance = RELATIVE if expected.is_floating_point() else EXACT
        yield compare(name, values[name].to(expected.dtype), expected, tolerance)


def _coefficients(walk: Walk) -> dict[str, Tensor]:
    alphas = torch.tensor(walk.alphas, dtype=torch.float64)
    before = torch.cat([torch.ones(1, dtype=torch.float64), alphas[:-1]])
    steps = [walk.step(index) for index in range(len(alphas))]
    one = torch.ones((), dtype=torch.float64)
    zero = torch.zeros((), dtype=torch.float64)
    last = range(len(alphas))
    return {
        "timesteps": torch.tensor(walk.timesteps),
        "alphas_cumprod": alphas,
        "alphas_cumprod_prev": before,
        "betas": 1 - alphas / before,
        "posterior_mean_coef1": torch.tensor([step.kept for step in steps], dtype=torch.float64),
        "posterior_mean_coef2": torch.tensor([step.carried for step in steps], dtype=torch.float64),
        "posterior_variance": torch.tensor([step.spread**2 for step in steps], dtype=torch.float64),
        "sqrt_alphas_cumprod": alphas.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - alphas).sqrt(),
        "sqrt_recip_alphas_cumprod": torch.stack([walk.clean(one, zero, at) for at in last]),
        "sqrt_recipm1_alphas_cumprod": torch.stack([-walk.clean(zero, one, at) for at in last]),
        "train_betas": torch.from_numpy(trained_betas()),
    }


def _ends(walk: Walk, prefix: str) -> dict[str, Tensor]:
    return {
        f"{prefix}first_timestep": torch.tensor(walk.timesteps[-1]),
        f"{prefix}renoise_index": torch.tensor(walk.restart),
        f"{prefix}loop_indices": torch.tensor(walk.indices),
        f"{prefix}loop_timesteps": torch.tensor([walk.timesteps[at] for at in walk.indices]),
    }


def check_windows(case: Case) -> Iterator[Comparison]:
    """Lay out tiles."""
    for number, (height, width, size, stride) in enumerate(case.config["h_w_tile_stride"]):
        boxes = windows(height, width, size=size, stride=stride)
        ends = torch.tensor([[*box.rows, *box.columns] for box in boxes])
        name = f"windows_{number}"
        yield compare(name, ends, case.outputs[name], EXACT)


def check_bell(case: Case) -> Iterator[Comparison]:
    """Compute the weights of a tile."""
    for name, expected in case.outputs.items():
        yield compare(name, bell(*expected.shape), expected, RELATIVE)


def check_colours(case: Case) -> Iterator[Comparison]:
    """Give a picture the colours of another."""
    fixes = {"adain": colorfix.adain, "wavelet": colorfix.wavelet}
    for name, expected in case.outputs.items():
        fixed = fixes[name](case.inputs["content"], case.inputs["style"])
        yield compare(name, fixed, expected, COLOUR)


def check_trajectory(case: Case) -> Iterator[Comparison]:
    """Walk from recorded noise to pixels, one picture at a time; look at every prediction."""
    restorer, recipe = build_restorer(case), recipe_of(case.config)
    walk = Walk.plan(steps=recipe.steps, t_max=recipe.t_max, t_min=recipe.t_min)
    walked = [_walk(restorer, recipe, walk, case, at) for at in range(len(case.inputs["image"]))]
    indices = [len(walk.timesteps) - 1, *walk.indices]
    values = {
        "index": torch.tensor(indices),
        "timestep": torch.tensor([walk.timesteps[index] for index in indices]),
        "renoise_index": torch.tensor(walk.restart),
        **{
            name: torch.cat([each[name] for each in walked], dim=1) for name in ("x_t", "eps", "x0")
        },
    }
    for name, expected in case.intermediate.items():
        tolerance = {"eps": EPS, "x_t": LATENT, "x0": LATENT}.get(name, EXACT)
        yield compare(name, values[name], expected, tolerance)
    for name, tolerance in (("latent", LATENT), ("pixels", PIXELS)):
        found = torch.cat([each[name] for each in walked])
        yield compare(name, found, case.outputs[name], tolerance)


def _walk(restorer: Restorer, recipe: Recipe, walk: Walk, case: Case, at: int) -> dict[str, Tensor]:
    """Restore one picture of a case."""
    source = case.inputs["image"][at : at + 1]
    predict = restorer.predictor(source, restorer.encode(source, recipe), recipe)
    latents, noises = [], []

    def record(latent: Tensor, timestep: int) -> Tensor:
        latents.append(latent)
        noises.append(predict(latent, timestep))
        return noises[-1]

    wasteful = "noise_unused" in case.inputs
    noise = RecordedNoise(each[at : at + 1] for each in recorded(case, wasteful=wasteful))
    shape = (1, *case.inputs["x_T"].shape[1:])
    latent = descend(walk, record, lambda: noise.draw(*shape), wasteful=wasteful)
    indices = [len(walk.timesteps) - 1, *walk.indices]
    clean = [walk.clean(*each) for each in zip(latents, noises, indices, strict=True)]
    return {
        "x_t": torch.stack(latents),
        "eps": torch.stack(noises),
        "x0": torch.stack(clean),
        "latent": latent,
        "pixels": restorer.decode(latent, source, recipe),
    }


def recorded(case: Case, *, wasteful: bool) -> Iterator[Tensor]:
    """Yield a case's noise in the order in which it is drawn."""
    yield case.inputs["x_T"]
    if wasteful:
        yield case.inputs["noise_unused"]
    yield case.inputs["noise_renoise"]
    yield from case.inputs["noise_steps"]


def recipe_of(config: dict[str, Any], *, decoder_tile: int = ALL) -> Recipe:
    """Turn a case's settings into a recipe."""
    return Recipe(
        steps=config["steps"],
        t_max=config["t_max"],
        t_min=config["t_min"],
        tile_diffusion=TileDiffusion(config["mode"]),
        tile_size=config["tile_size"] or 0,
        tile_stride=config["tile_stride"] or 0,
        tiles_at_once=2,
        encoder_tile=ALL,
        decoder_tile=decoder_tile,
        color_fix=ColorFix(config["color_fix"]),
    )
