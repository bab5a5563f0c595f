"""Sigma schedules and samplers in the variance-exploding form of Karras et al. (2022).

A sample is `x = image + sigma * noise`; a denoiser returns the image that it guesses from x. The
samplers are functions of a denoiser, a start, the sigmas and a source of noise, and know nothing of
networks, tiles or guidance.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import exp, expm1, inf, log
from typing import Protocol

import torch
from torch import Tensor

from models.diffusion.noise import Noise
from models.diffusion.schedule import trained_alphas

RHO = 7.0
"""Of Karras' schedule, equation 5."""
MOST_STRENGTH = 0.999


class Denoiser(Protocol):
    """Guesses the clean image; `step` is how many calls there were before."""

    def __call__(self, x: Tensor, sigma: float, step: int) -> Tensor:
        """Return the guess, of the shape and dtype of `x`."""
        ...


class Discrete:
    """The noise levels that a network of Stable Diffusion was trained on, and their timesteps."""

    def __init__(self) -> None:
        """Compute them."""
        kept = torch.from_numpy(trained_alphas()).float()
        self.sigmas = ((1 - kept) / kept).sqrt()
        self._logs = self.sigmas.log()

    @property
    def least(self) -> float:
        """The lowest sigma, 0.0292 for Stable Diffusion."""
        return float(self.sigmas[0])

    @property
    def most(self) -> float:
        """The highest sigma, 14.6."""
        return float(self.sigmas[-1])

    def timestep(self, sigma: float) -> float:
        """Return the timestep of any sigma: between two levels, linear in its logarithm.

        Rounded timesteps, as most schedulers have them, would feed the network another noise level
        than the sample holds.
        """
        wanted = torch.tensor(sigma, dtype=torch.float32).log()
        below = int((self._logs <= wanted).sum().clamp(1, len(self._logs) - 1)) - 1
        low, high = self._logs[below], self._logs[below + 1]
        share = ((low - wanted) / (low - high)).clamp(0, 1)
        return float((1 - share) * below + share * (below + 1))


def karras(count: int, *, least: float, most: float) -> Tensor:
    """Return `count` sigmas from `most` to `least` and a zero, float32."""
    ramp = torch.linspace(0, 1, count)
    low, high = least ** (1 / RHO), most ** (1 / RHO)
    return torch.cat([(high + ramp * (low - high)) ** RHO, torch.zeros(1)])


def karras_without_last(count: int, *, least: float, most: float) -> Tensor:
    """Return `count` sigmas and a zero, of a schedule one longer whose lowest is left out.

    What the web UI does for this family of samplers: their last step starts from a sigma that is
    still worth a call.
    """
    sigmas = karras(count + 1, least=least, most=most)
    return torch.cat([sigmas[:-2], sigmas[-1:]])


def truncated(sigmas: Tensor, strength: float) -> Tensor:
    """Return the end of a schedule for a start from a picture.

    Args:
        sigmas: Of all steps, with the zero.
        strength: How much of the schedule is run, 0 to 1; at 0 there is still one call.
    """
    calls = int(min(strength, MOST_STRENGTH) * (len(sigmas) - 1)) + 1
    return sigmas[-calls - 1 :]


def _phi2(h: float) -> float:
    """Return (exp(-h) - 1) / h + 1."""
    return expm1(-h) / h + 1


def _log_steps(sigmas: Tensor) -> Sequence[float]:
    """Return the steps in -log(sigma); the one to zero is infinite."""
    levels = [float(sigma) for sigma in sigmas]
    return [log(a / b) if b else inf for a, b in pairwise(levels)]


def dpmpp_3m_sde(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    noise: Noise,
    *,
    eta: float = 1.0,
    after_step: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Sample by DPM-Solver++(3M) SDE, a multistep solver of third order (Lu et al. 2022).

    Written from the exponential integrator: with H = (1 + eta) h, the last guesses are extrapolated
    by a polynomial whose terms are weighted by phi functions of H.

    Args:
        denoiser: The guess at each step.
        x: The start, `(b, c, h, w)` float32, at the first sigma.
        sigmas: Falling, the last one zero.
        noise: A draw of the shape of `x` for each step but the last.
        eta: How much of the noise is drawn anew; 0 is deterministic.
        after_step: Called with the number of steps done.

    Returns:
        The image, of the shape of `x`.
    """
    guesses: list[Tensor] = []
    widths: list[float] = []
    for step, h in enumerate(_log_steps(sigmas)):
        guess = denoiser(x, float(sigmas[step]), step)
        if h == inf:
            x = guess
        else:
            x = _third_order(x, [guess, *guesses], [h, *widths], eta)
            if eta:
                drawn = noise.draw(*x.shape).to(x)
                x = x + drawn * (float(sigmas[step + 1]) * (-expm1(-2 * h * eta)) ** 0.5)
        guesses, widths = [guess, *guesses[:1]], [h, *widths[:1]]
        after_step(step + 1)
    return x


def _third_order(
    x: Tensor, guesses: Sequence[Tensor], widths: Sequence[float], eta: float
) -> Tensor:
    """Step by as high an order as there are guesses, the newest first."""
    h = widths[0]
    whole = (1 + eta) * h
    guess = guesses[0]
    x = exp(-whole) * x - expm1(-whole) * guess
    if len(guesses) == 1:
        return x
    phi2 = _phi2(whole)
    slope = (guess - guesses[1]) * (h / widths[1])
    if len(guesses) == 2:
        return x + phi2 * slope
    before = (guesses[1] - guesses[2]) * (h / widths[2])
    near, far = widths[1] / h, widths[2] / h
    bend = (slope - before) / (near + far)
    return x + phi2 * (slope + bend * near) - (phi2 / whole - 0.5) * bend


def dpmpp_2m(
    denoiser: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    noise: Noise,
    *,
    after_step: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Sample by DPM-Solver++(2M), the deterministic solver of second order (Lu et al. 2022).

    Args and result as of `dpmpp_3m_sde`; no noise is drawn.
    """
    del noise
    last: Tensor | None = None
    width = 0.0
    for step, h in enumerate(_log_steps(sigmas)):
        guess = denoiser(x, float(sigmas[step]), step)
        if h == inf:
            x = guess
        else:
            ahead = guess if last is None else guess + (guess - last) * (h / (2 * width))
            x = exp(-h) * x - expm1(-h) * ahead
        last, width = guess, h
        after_step(step + 1)
    return x
