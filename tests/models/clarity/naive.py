"""A whole enlargement as the reference describes it, plain and slow, to hold the product against.

One tile, one prompt and one step at a time; the autoencoder untiled; the schedule and the sampler
from their formulas.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.diffusion.hint import control_hint
from models.schema import Size


def enlarge(upscaler, pixels, request, seed: int, *, start) -> np.ndarray:
    """Enlarge by one pass of at most 2; `start` is what made the picture larger."""
    height, width = (math.floor(s * request.upscale_factor / 8) * 8 for s in pixels.shape[:2])
    resized = Image.fromarray(start).resize((width, height), Image.Resampling.LANCZOS)
    picture = torch.from_numpy(np.array(resized)).permute(2, 0, 1)[None] / 127.5 - 1
    vae = upscaler.model.autoencoder.vae
    latent = vae.encode(picture).latent_dist.mean * 0.18215
    guidance = upscaler._guidance(request.prompt, [], request)
    hint = control_hint(pixels, Size(width, height))
    x = sampled(
        latent, request, seed, lambda x, now: _guess(upscaler, x, now, hint, guidance, request)
    )
    decoded = vae.decode(x / 0.18215).sample[0].permute(1, 2, 0)
    return (((decoded + 1) / 2).clamp(0, 1) * 255).byte().numpy()


def sampled(latent: Tensor, request, seed: int, guessed: Callable[[Tensor, float], Tensor]):
    """Add noise to a latent, and take it away step by step."""
    generator = torch.Generator().manual_seed(seed)
    sigmas = karras_sigmas(request.num_inference_steps)
    calls = int(min(request.creativity, 0.999) * request.num_inference_steps) + 1
    sigmas = sigmas[-calls - 1 :]
    x = latent + torch.randn(latent.shape, generator=generator) * sigmas[0]
    guesses: list[tuple[Tensor, float]] = []
    for now, after in pairwise(sigmas):
        guess = guessed(x, now)
        if after == 0:
            return guess
        step = math.log(now / after)
        x = third_order(x, guess, guesses, step)
        noise = torch.randn(x.shape, generator=generator)
        x = x + noise * after * math.sqrt(1 - math.exp(-2 * step))
        guesses.append((guess, step))
    return x


def karras_sigmas(steps: int) -> list[float]:
    betas = np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    kept = np.cumprod(1 - betas)
    low, high = (float(((1 - kept[n]) / kept[n]) ** 0.5) for n in (0, -1))
    ramp = [n / steps for n in range(steps + 1)]
    found = [(high ** (1 / 7) + r * (low ** (1 / 7) - high ** (1 / 7))) ** 7 for r in ramp]
    return [*found[:-1], 0.0]


def third_order(x: Tensor, guess: Tensor, guesses: list, step: float) -> Tensor:
    whole = 2 * step
    x = math.exp(-whole) * x + (1 - math.exp(-whole)) * guess
    if not guesses:
        return x
    phi2 = (math.exp(-whole) - 1) / whole + 1
    first, first_step = guesses[-1]
    a = (guess - first) / (first_step / step)
    if len(guesses) == 1:
        return x + phi2 * a
    second, second_step = guesses[-2]
    near, far = first_step / step, second_step / step
    b = (first - second) / far
    d1 = a + (a - b) * near / (near + far)
    d2 = (a - b) / (near + far)
    return x + phi2 * d1 - (phi2 / whole - 0.5) * d2


def _guess(upscaler, x: Tensor, sigma: float, hint: Tensor, guidance, request) -> Tensor:
    levels = upscaler.levels.sigmas.log().double().numpy()
    at = float(np.interp(math.log(sigma), levels, np.arange(1000)))
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    for rows, columns in _tiles(upscaler.options, *x.shape[2:]):
        tile = x[:, :, rows, columns] / math.sqrt(sigma**2 + 1)
        seen = hint[:, :, _pixels(rows), _pixels(columns)]
        wanted, unwanted = (
            _noise(upscaler, tile, at, prompt, seen, request.resemblance)
            for prompt in (guidance.wanted.tokens, guidance.unwanted.tokens)
        )
        noise = unwanted + request.guidance_scale * (wanted - unwanted)
        total[:, :, rows, columns] += x[:, :, rows, columns] - sigma * noise
        count[:, :, rows, columns] += 1
    return total / count


def _pixels(cells: slice) -> slice:
    return slice(8 * cells.start, 8 * cells.stop)


def _tiles(options, height: int, width: int):
    def starts(length: int, tile: int):
        tile = min(tile, length)
        count = 1 if length == tile else math.ceil((length - 4) / (tile - 4))
        step = (length - tile) / max(1, count - 1)
        return [slice(int(n * step), int(n * step) + tile) for n in range(count)]

    return [
        (rows, columns)
        for rows in starts(height, options.tile_height)
        for columns in starts(width, options.tile_width)
    ]


def _noise(upscaler, tile: Tensor, at: float, prompt: Tensor, hint: Tensor, firmness: float):
    steered = upscaler.model.steered
    timestep = torch.tensor([at], dtype=torch.float32)
    embedded = steered.hint_embedding(hint)
    down, middle = steered.controlnet(tile, timestep, prompt, embedded, return_dict=False)
    shares = [firmness * 0.825 ** (12 - n) for n in range(12)]
    return steered.unet(
        tile,
        timestep,
        prompt,
        down_block_additional_residuals=[d * s for d, s in zip(down, shares, strict=True)],
        mid_block_additional_residual=middle * firmness,
        return_dict=False,
    )[0]
