"""The autoencoder on its own."""

from collections.abc import Iterator

import torch

from models.seedvr2.config import read_vae_config
from models.seedvr2.folding import fold
from models.seedvr2.vae import Vae, sample
from tests.goldens.case import Case, Tensors
from tests.goldens.comparison import Comparison, Tolerance, compare, skip

FLOAT32 = Tolerance(absolute=1e-4, relative=1e-4)

SCALING = 0.9152


def build_vae(tensors: Tensors, groups: int) -> Vae:
    """Build an autoencoder from published tensors."""
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    with torch.device("meta"):
        vae = Vae(read_vae_config(shapes, groups=groups))
    own = dict(vae.named_parameters())
    folded = {name: fold(tensor, own[name].shape) for name, tensor in tensors.items()}
    vae.load_state_dict(folded, strict=True, assign=True)
    return vae


def check_vae(case: Case) -> Iterator[Comparison]:
    """Encode, sample and decode one image."""
    if case.inputs["x"].shape[2] > 1:
        yield from check_video_vae(case)
        return
    vae = build_vae(case.weights, case.config["norm_num_groups"])
    moments = vae.encode(case.inputs["x"][:, :, 0])
    latent = sample(moments, case.inputs["posterior_noise"][:, :, 0])
    decoded = vae.decode(latent)
    values = {
        "latent_sample": latent,
        "latent_scaled": latent * SCALING,
        "mean": moments.chunk(2, dim=1)[0],
        "decoded": decoded,
    }
    yield compare("moments", moments[:, :, None], case.intermediate["moments"], FLOAT32)
    for name, expected in case.outputs.items():
        yield compare(name, values[name][:, :, None], expected, FLOAT32)


def check_video_vae(case: Case) -> Iterator[Comparison]:
    """Skip what needs several frames."""
    for name in case.outputs:
        yield skip(name, "a video of several frames; the product enlarges single images")
