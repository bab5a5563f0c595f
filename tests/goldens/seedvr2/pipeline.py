"""The whole core, from 8-bit pixels to 8-bit pixels, with recorded noise."""

from collections.abc import Iterator

import torch
from einops import rearrange
from torch import Tensor

from models import colorfix
from models.diffusion.noise import RecordedNoise
from models.image import from_tensor
from models.seedvr2 import sampler
from models.seedvr2.restorer import Restorer
from tests.goldens.case import Case
from tests.goldens.comparison import Comparison, Tolerance, compare, skip
from tests.goldens.seedvr2.networks import build_dit
from tests.goldens.seedvr2.sampling import upstream_prepare
from tests.goldens.seedvr2.vae import build_vae

FLOATS = Tolerance(absolute=2e-4)
LEVELS = Tolerance(absolute=1, share=0.005)

TILE = 1024


def check_pipeline(case: Case) -> Iterator[Comparison]:
    """Prepare, encode, denoise, decode, keep the colours, and round."""
    config = case.config
    if config["steps"] != 1 or config["cfg_scale"] != 1:
        for name in case.outputs:
            yield skip(name, "the published models are distilled to one step without guidance")
        return
    restorer = build_restorer(case)
    noise = RecordedNoise(case.inputs[f"{name}noise"] for name in ("posterior_", "", "aug_"))
    pixels = upstream_prepare(case.inputs["rgb_u8"], config["res_h"] * config["res_w"])
    condition = restorer.encode(pixels, noise, tile=TILE)
    timestep = sampler.upstream_timestep(config["cond_noise_scale"], *condition.shape[:2])
    noisy = sampler.add_noise(condition, case.inputs["aug_noise"][0], timestep)
    latent = restorer.denoise(condition, noise, timestep=timestep)
    decoded = restorer.decode(latent, tile=TILE)
    fixed = colorfix.wavelet(decoded, pixels)
    values = {
        "transformed": pixels[0][:, None],
        "cond_latent": condition[None],
        "cond_t": torch.tensor([timestep]),
        "condition": sampler.network_input(noisy, noisy)[None, ..., 16:],
        "x0_latent": latent[None],
        "decoded": decoded,
        "colour_fixed": fixed,
    }
    for name, expected in case.intermediate.items():
        yield compare(name, values[name], expected, FLOATS)
    results = {"rgb_u8": fixed, "rgb_u8_no_colour_fix": decoded}
    for name, expected in case.outputs.items():
        yield compare(name, _rounded(results[name]), expected, LEVELS)


def build_restorer(case: Case) -> Restorer:
    """Build the networks of a case."""
    return Restorer(
        vae=build_vae(case.below("vae"), case.config["vae"]["norm_num_groups"]),
        dit=build_dit(case.below("dit")),
        prompt=case.inputs["texts_pos"],
    )


def _rounded(picture: Tensor) -> Tensor:
    """Round `(1, 3, h, w)` in [-1, 1] as the product does."""
    return rearrange(torch.from_numpy(from_tensor(picture[0] / 2 + 0.5)), "h w c -> 1 c h w")
