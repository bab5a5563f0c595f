"""The sampler: a truncated walk through re-spaced timesteps, as csslc/CCSR's `SpacedSampler` goes.

The first prediction is made of pure noise, and its clean latent noised again to `t_max`; from
there the walk goes down to `t_min`, where the clean latent of the last prediction is taken.
Upstream's quirks are kept, each said where it is.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from torch import Tensor

from models.diffusion.schedule import TRAINED_STEPS, trained_alphas


class Step(NamedTuple):
    """One step down: `kept * x0 + carried * x + spread * noise`."""

    kept: float
    carried: float
    spread: float


@dataclass(frozen=True, kw_only=True)
class Walk:
    """Where a walk begins and ends.

    Attributes:
        timesteps: Of all indices, rising from 0 to 999.
        alphas: What is left of the signal's variance at each.
        restart: The index that the first clean latent is noised to.
        indices: Of the steps down, in their order; the last one only predicts.
    """

    timesteps: tuple[int, ...]
    alphas: tuple[float, ...]
    restart: int
    indices: tuple[int, ...]

    @classmethod
    def plan(cls, *, steps: int, t_max: float, t_min: float) -> "Walk":
        """Plan a walk; see `bounds` for what must hold.

        Args:
            steps: How many timesteps of the 1000 there are at all, 2 to 1000.
            t_max: The share of them that is walked through at most: where it begins, 0 to 1.
            t_min: The share that is left out at the end.
        """
        low, high = bounds(steps=steps, t_max=t_max, t_min=t_min)
        timesteps = respace(steps)
        # Upstream multiplies in float32, and by one less than for `high`: at a third of all `steps`
        # (50 is one) the latent is noised to the index above the one that it is then taken for.
        restart = int(np.rint(np.float32(steps - 1) * np.float32(t_max)))
        return cls(
            timesteps=timesteps,
            alphas=tuple(trained_alphas()[list(timesteps)].tolist()),
            restart=restart,
            indices=tuple(reversed(range(low, high))),
        )

    @property
    def calls(self) -> int:
        """How many predictions are made of every tile."""
        return 1 + len(self.indices)

    def clean(self, latent: Tensor, noise: Tensor, index: int) -> Tensor:
        """Return the clean latent that a prediction of the noise in it means."""
        alpha = self.alphas[index]
        return latent / alpha**0.5 - (1 / alpha - 1) ** 0.5 * noise

    def noised(self, clean: Tensor, noise: Tensor) -> Tensor:
        """Noise the first clean latent to where the walk begins."""
        alpha = self.alphas[self.restart]
        return alpha**0.5 * clean + (1 - alpha) ** 0.5 * noise

    def step(self, index: int) -> Step:
        """Return the mean and the deviation of the posterior (Ho et al. 2020, equations 6 and 7).

        The smaller of the two variances; 0 at index 0, where the latent is clean.
        """
        alpha = self.alphas[index]
        before = self.alphas[index - 1] if index else 1.0
        beta = 1 - alpha / before
        return Step(
            kept=beta * before**0.5 / (1 - alpha),
            carried=(1 - before) * (1 - beta) ** 0.5 / (1 - alpha),
            spread=(beta * (1 - before) / (1 - alpha)) ** 0.5,
        )


Predict: TypeAlias = Callable[[Tensor, int], Tensor]
"""Returns the noise in a latent at a timestep."""


def descend(
    walk: Walk,
    predict: Predict,
    draw: Callable[[], Tensor],
    *,
    wasteful: bool,
) -> Tensor:
    """Go the whole way from noise to a clean latent.

    Args:
        walk: Where to.
        predict: Asked once for each step, with a latent of the shape that `draw` gives.
        draw: Returns new noise, of the latent's shape.
        wasteful: Draw once for nothing, as upstream does unless it works in tiles, so that a seed
            gives the same noise.
    """
    latent = draw()
    if wasteful:
        draw()
    last = len(walk.timesteps) - 1
    clean = walk.clean(latent, predict(latent, walk.timesteps[last]), last)
    latent = walk.noised(clean, draw())
    for index in walk.indices[:-1]:
        clean = walk.clean(latent, predict(latent, walk.timesteps[index]), index)
        kept, carried, spread = walk.step(index)
        latent = kept * clean + carried * latent + spread * draw()
    index = walk.indices[-1]
    return walk.clean(latent, predict(latent, walk.timesteps[index]), index)


def bounds(*, steps: int, t_max: float, t_min: float) -> tuple[int, int]:
    """Return the first index that is walked through, and the one after the last.

    A walk has at least one step where the second is larger.
    """
    return round(steps * t_min), round(steps * t_max)


def respace(steps: int) -> tuple[int, ...]:
    """Spread timesteps over all that were trained, the first and the last among them.

    By repeated addition, as upstream does: at some 280 of all `steps` (45 is one) the rounded sum
    differs from the rounded product.
    """
    return tuple(_sums(steps))


def _sums(steps: int) -> Iterator[int]:
    stride = (TRAINED_STEPS - 1) / (steps - 1)
    at = 0.0
    for _ in range(steps):
        yield round(at)
        at += stride
