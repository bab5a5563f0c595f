"""A whole pass as the definition describes it, plain and slow, to hold the product against.

One tile, one prompt and one step at a time; the autoencoder untiled; the schedule and the sampler
from their formulas.
"""

import math

import numpy as np
import torch
from torch import Tensor

from tests.models.clarity.naive import sampled

OVERLAP = 16


def diffuse(upscaler, worked: np.ndarray, request, conditions, seed: int, *, scaling: float):
    """Diffuse a picture whose sides are multiples of 8; `conditions` are of both prompts."""
    picture = torch.from_numpy(worked.copy()).permute(2, 0, 1)[None] / 255
    vae = upscaler.model.autoencoder.vae
    latent = vae.encode(picture * 2 - 1).latent_dist.mean * scaling
    x = sampled(
        latent, request, seed, lambda x, now: _guess(upscaler, x, now, picture, conditions, request)
    )
    decoded = vae.decode(x / scaling).sample[0].permute(1, 2, 0)
    return (((decoded + 1) / 2).clamp(0, 1) * 255).byte().numpy()


def _guess(upscaler, x: Tensor, sigma: float, hint: Tensor, conditions, request) -> Tensor:
    levels = upscaler.levels.sigmas.log().double().numpy()
    at = float(np.interp(math.log(sigma), levels, np.arange(1000)))
    total, count = torch.zeros_like(x), torch.zeros(x.shape[2:])
    whole = (x.shape[2] * 8, x.shape[3] * 8)
    side = upscaler.options.tile_of(upscaler.variant)
    for rows in _starts(x.shape[2], side):
        for columns in _starts(x.shape[3], side):
            tile = x[:, :, rows, columns] / math.sqrt(sigma**2 + 1)
            seen = hint[:, :, _pixels(rows), _pixels(columns)]
            wanted, unwanted = (
                _noise(upscaler, tile, at, each, seen, request.shape_preservation, whole)
                for each in conditions
            )
            noise = unwanted + request.guidance_scale * (wanted - unwanted)
            weight = torch.outer(_bell(tile.shape[2]), 1.0 * _bell(tile.shape[3]))
            total[:, :, rows, columns] += weight * noise
            count[rows, columns] += weight
    return x - sigma * total / count


def _bell(length: int) -> Tensor:
    """Each axis by its own length; the middle down is half a cell off, which is cancelled here."""
    at = torch.arange(length, dtype=torch.float64)
    return torch.exp(-((at - (length - 1) / 2) ** 2) / (2 * 0.01 * length**2))


def _pixels(cells: slice) -> slice:
    return slice(8 * cells.start, 8 * cells.stop)


def _starts(length: int, tile: int) -> list[slice]:
    tile = min(tile, length)
    count = 1 if length == tile else math.ceil((length - OVERLAP) / (tile - OVERLAP))
    step = (length - tile) / max(1, count - 1)
    starts = [round(n * step) if n == count - 1 else int(n * step) for n in range(count)]
    return [slice(start, start + tile) for start in starts]


def _noise(upscaler, tile: Tensor, at: float, condition, hint: Tensor, firmness: float, whole):
    steered = upscaler.model.steered
    timestep = torch.tensor([at], dtype=torch.float32)
    told = {"return_dict": False}
    if condition.pooled is not None:
        ids = torch.tensor([[*whole, 0.0, 0.0, *whole]])
        told["added_cond_kwargs"] = {"text_embeds": condition.pooled, "time_ids": ids}
    if steered.controlnet is None:
        return steered.unet(tile, timestep, condition.tokens, **told)[0]
    embedded = steered.hint_embedding(hint)
    down, middle = steered.controlnet(tile, timestep, condition.tokens, embedded, **told)
    return steered.unet(
        tile,
        timestep,
        condition.tokens,
        down_block_additional_residuals=[each * firmness for each in down],
        mid_block_additional_residual=middle * firmness,
        **told,
    )[0]
