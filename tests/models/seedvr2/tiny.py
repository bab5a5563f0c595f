"""Small random networks of both flavours."""

from dataclasses import replace

import torch

from models.seedvr2.config import DitConfig, Flavour, VaeConfig
from models.seedvr2.dit import Dit
from models.seedvr2.restorer import Restorer
from models.seedvr2.vae import Vae

TINY_VAE = VaeConfig(channels=(4, 4, 8, 8), groups=2)
TINY_3B = DitConfig(
    flavour=Flavour.B3,
    width=24,
    heads=2,
    head_width=12,
    layers=4,
    separate_layers=2,
    hidden=32,
    text_width=20,
)
TINY_7B = replace(TINY_3B, flavour=Flavour.B7, separate_layers=4)


def make_vae() -> Vae:
    """Return a small random autoencoder."""
    torch.manual_seed(0)
    return Vae(TINY_VAE).eval().requires_grad_(False)


def make_dit(config: DitConfig) -> Dit:
    """Return a small random transformer."""
    torch.manual_seed(0)
    dit = Dit(config).eval().requires_grad_(False)
    for name, parameter in dit.named_parameters():
        if ".ada." in name or name.startswith("vid_out_ada"):
            # Unset by construction; scales are near 1 in the published files.
            parameter.copy_(torch.randn_like(parameter) * 0.1 + name.endswith("scale"))
    return dit


def relative_error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the root mean square error, relative to the reference's root mean square."""
    return ((actual.float() - expected).norm() / expected.norm()).item()


def make_restorer(config: DitConfig, dtype: torch.dtype = torch.float32) -> Restorer:
    """Return small random networks with a prompt of five tokens."""
    torch.manual_seed(2)
    prompt = torch.randn(5, config.text_width).to(dtype)
    return Restorer(vae=make_vae().to(dtype), dit=make_dit(config).to(dtype), prompt=prompt)
