"""Sigma schedules and samplers, on a denoiser that is a formula."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from models.diffusion import kdiffusion
from models.diffusion.noise import RecordedNoise
from tests.goldens.case import Case
from tests.goldens.comparison import Comparison, Tolerance, compare, skip

LEVELS = Tolerance(absolute=2e-6)
TIMESTEPS = Tolerance(absolute=2e-4)
LOOP = Tolerance(absolute=1e-5)

TRAINED = kdiffusion.Discrete()


def check_sigmas(case: Case) -> Iterator[Comparison]:
    """Compute every table, every truncated schedule and every timestep."""
    extremes = torch.tensor([TRAINED.least, TRAINED.most])
    recorded = [case.config["sigma_min"], case.config["sigma_max"]]
    yield compare("sigma_min, sigma_max", extremes, torch.tensor(recorded), LEVELS)
    for steps, tables in case.config["tables"].items():
        for name, schedule in (
            ("karras", kdiffusion.karras),
            ("karras_discard_penultimate", kdiffusion.karras_without_last),
        ):
            yield compare(
                f"{name} {steps}", _of(schedule, int(steps)), torch.tensor(tables[name]), LEVELS
            )
    yield from map(_truncated, case.config["img2img"])
    for each in case.config["sigma_to_t"]:
        found = torch.tensor(TRAINED.timestep(each["sigma"]))
        yield compare(f"t of {each['sigma']:g}", found, torch.tensor(each["t"]), TIMESTEPS)
    yield skip("exponential, uniform_t", "schedules that no endpoint offers")


def _of(schedule: Callable[..., Tensor], count: int) -> Tensor:
    return schedule(count, least=TRAINED.least, most=TRAINED.most)


def _truncated(each: dict) -> Comparison:
    name = f"{each['steps']} steps at {each['denoising_strength']:g}"
    if each["fix_steps"]:
        return skip(name, "an option of the web UI that no endpoint has")
    schedule = _of(kdiffusion.karras_without_last, each["schedule_steps"])
    found = kdiffusion.truncated(schedule, each["denoising_strength"])
    return compare(name, found, torch.tensor(each["sigmas"]), LEVELS)


def check_sampler(case: Case) -> Iterator[Comparison]:
    """Run a sampler from a noisy start, with recorded noise."""
    inputs, spread = case.inputs, case.config["s0"]
    guesses, seen = [], []

    def denoise(x: Tensor, sigma: float, step: int) -> Tensor:
        mean = (spread**2 * x + sigma**2 * inputs["m"]) / (spread**2 + sigma**2)
        seen.append(x)
        guesses.append(mean + 0.1 * torch.sin(3 * x) * sigma / (1 + sigma))
        return guesses[step]

    start = inputs["x0"] + inputs["initial_noise"] * inputs["sigmas"][0]
    noise = RecordedNoise(inputs.get("step_noise", ()))
    if case.config["sampler"] == "dpmpp_2m":
        made = kdiffusion.dpmpp_2m(denoise, start, inputs["sigmas"], noise)
    else:
        eta = case.config.get("eta", 1.0)
        made = kdiffusion.dpmpp_3m_sde(denoise, start, inputs["sigmas"], noise, eta=eta)
    yield compare("x", made, case.outputs["x"], LOOP)
    for name, found in (("denoised", guesses), ("x_before_step", seen)):
        if name in case.intermediate:
            yield compare(name, torch.stack(found), case.intermediate[name], LOOP)
