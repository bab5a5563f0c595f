"""One step from noise to a latent, and the condition that it is made under.

Upstream: `common/diffusion` and `projects/video_diffusion_sr/infer.py`. A latent on its way is
`(1 - t / 1000) * latent + t / 1000 * noise`; the network predicts the velocity, noise minus latent.
The published models are distilled to the single timestep 1000, where all is noise.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from models.seedvr2.vae import CELL

LAST = 1000.0
"""The timestep at which nothing is left but noise; the only one that the network is asked at."""

CHANNELS = 16
"""Of a latent."""

CAP_ROWS, CAP_COLUMNS = 90, 160
"""The latent of 1280 x 720, upstream's own default size; see `condition_timestep`."""


class Line(NamedTuple):
    """A straight line through two points, `(x0, y0)` and `(x1, y1)`."""

    x0: float
    y0: float
    x1: float
    y1: float

    def at(self, x: float) -> float:
        """Return the line's height, beyond its points too."""
        return self.y0 + (x - self.x0) * (self.y1 - self.y0) / (self.x1 - self.x0)


IMAGE_SHIFT = Line(256 * 256, 1.0, 1024 * 1024, 3.2)
VIDEO_SHIFT = Line(256 * 256 * 37, 1.0, 1280 * 720 * 145, 5.0)
"""How much more noise a larger picture or video needs to be hidden as well, by its pixels."""


def shift_timestep(timestep: float, *, frames: int, rows: int, columns: int) -> float:
    """Move a timestep in [0, 1000] towards noise, by the size of a latent.

    Args:
        timestep: To be moved.
        frames: Of the latent; each but the first stands for four of the video.
        rows: Of latent cells.
        columns: Of latent cells.
    """
    pixels = rows * CELL * columns * CELL
    video_frames = 4 * (frames - 1) + 1
    line = IMAGE_SHIFT if video_frames == 1 else VIDEO_SHIFT
    shift = line.at(pixels * video_frames)
    part = timestep / LAST
    return shift * part / (1 + (shift - 1) * part) * LAST


def upstream_timestep(noise_scale: float, rows: int, columns: int) -> float:
    """Return how noisy upstream makes the condition of a latent, as a timestep in [0, 1000].

    Upstream hands the latent's shape over as (rows, columns, channels) where (frames, rows,
    columns) is expected, and the published models were tuned so; this does the same.
    """
    return shift_timestep(noise_scale * LAST, frames=rows, rows=columns, columns=CHANNELS)


def condition_timestep(noise_scale: float, rows: int, columns: int) -> float:
    """Return how noisy to make the condition: as upstream, but no more than at 1280 x 720.

    Upstream's value grows without bound with the size: a `noise_scale` of 0.1 means 231 at
    1280 x 720, but 879 at 8K, where the condition is almost all noise.
    """
    cap = upstream_timestep(noise_scale, CAP_ROWS, CAP_COLUMNS)
    return min(upstream_timestep(noise_scale, rows, columns), cap)


def add_noise(latent: Tensor, noise: Tensor, timestep: float) -> Tensor:
    """Return the latent on its way to noise at a timestep in [0, 1000]."""
    part = timestep / LAST
    return (1 - part) * latent + part * noise


def network_input(noise: Tensor, condition: Tensor) -> Tensor:
    """Put together what the network sees of each cell.

    Args:
        noise: `(h, w, 16)`.
        condition: `(h, w, 16)`: the latent of the enlarged input, noise added.

    Returns:
        `(h, w, 33)`: noise, condition, and a mask of ones: every cell has a condition.
    """
    return torch.cat([noise, condition, torch.ones_like(noise[..., :1])], dim=-1)


def clean_latent(noise: Tensor, velocity: Tensor) -> Tensor:
    """Return the latent that a velocity at `LAST` leads to: Euler's method in a single step."""
    return noise - velocity
