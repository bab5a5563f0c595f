"""The noise that Stable Diffusion was trained with."""

import numpy as np
import numpy.typing as npt

TRAINED_STEPS = 1000

Floats = npt.NDArray[np.float64]


def trained_alphas() -> Floats:
    """Return how much of the signal's variance is left at each timestep: `(1000,)`, falling.

    The "scaled linear" schedule of Stable Diffusion 1 and 2: the roots of the variances that are
    added go from 0.00085 to 0.012 in equal steps. In float64.
    """
    return np.cumprod(1 - trained_betas(), dtype=np.float64)


def trained_betas() -> Floats:
    """Return the variance that each timestep adds: `(1000,)`."""
    return np.linspace(0.00085**0.5, 0.0120**0.5, TRAINED_STEPS, dtype=np.float64) ** 2
