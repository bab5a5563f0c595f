from dataclasses import replace

import pytest
import torch

from models.errors import WeightsError
from models.seedvr2.config import VAE, read_vae_config
from models.seedvr2.folding import fold, published_shapes
from models.seedvr2.vae import Vae, sample
from tests.checkpoints import published_shapes as published
from tests.models.seedvr2.tiny import TINY_VAE, make_vae, relative_error


def test_names_and_shapes_are_the_published_ones():
    with torch.device("meta"):
        vae = Vae(VAE)

    assert published_shapes(vae) == published("ema_vae")


def test_the_sizes_are_read_from_the_tensors():
    with torch.device("meta"):
        tiny = published_shapes(Vae(TINY_VAE))

    assert read_vae_config(published("ema_vae")) == VAE
    assert read_vae_config(tiny, groups=2) == TINY_VAE


@pytest.mark.parametrize(
    "fields",
    [
        {"channels": (4, 8, 12, 12), "encoder_resnets": 1, "decoder_resnets": 2},
        {"channels": (2, 4, 6), "time_levels": 1},
        {"latent_channels": 4, "time_levels": 3},
    ],
    ids=["resnets", "levels", "latent"],
)
def test_other_sizes_are_read_too(fields):
    config = replace(TINY_VAE, **fields)
    with torch.device("meta"):
        shapes = published_shapes(Vae(config))

    assert read_vae_config(shapes, groups=2) == config


def test_other_tensors_are_refused_by_name():
    shapes = published("ema_vae")
    del shapes["decoder.conv_in.weight"]

    with pytest.raises(WeightsError, match=r"no SeedVR2 autoencoder: 'decoder.conv_in.weight'"):
        read_vae_config(shapes)


def test_a_folded_kernel_is_the_causal_one_on_a_single_frame():
    picture, kernel = torch.randn(1, 2, 5, 6), torch.randn(3, 2, 3, 3, 3)
    video = picture[:, :, None].expand(-1, -1, 3, -1, -1)  # the first frame, seen again twice

    expected = torch.nn.functional.conv3d(video, kernel, padding=(0, 1, 1))[:, :, 0]

    actual = torch.nn.functional.conv2d(picture, fold(kernel, (3, 2, 3, 3)), padding=1)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_of_upsampling_in_time_the_rows_of_the_first_frame_are_kept():
    rows = torch.arange(4 * 2 * 3)  # 2 x 2 sub-pixels, 2 frames, 3 channels

    assert fold(rows, (12,)).tolist() == [0, 1, 2, 6, 7, 8, 12, 13, 14, 18, 19, 20]


def test_a_half_precision_kernel_is_summed_in_float32():
    kernel = torch.tensor([2048.0, 1.0, 1.0], dtype=torch.float16).view(1, 1, 3, 1, 1)

    assert fold(kernel, (1, 1, 1, 1)).item() == 2050


@pytest.mark.parametrize(("width", "height"), [(8, 8), (8, 400), (56, 24)])
def test_a_cell_is_eight_pixels_a_side(width, height):
    vae = make_vae()

    moments = vae.encode(torch.zeros(1, 3, height, width))

    assert moments.shape == (1, 32, height // 8, width // 8)
    assert vae.decode(moments[:, :16]).shape == (1, 3, height, width)


def test_half_precision_stays_close_to_float32():
    vae = make_vae()
    pixels = torch.rand(1, 3, 64, 48) * 2 - 1
    moments = vae.encode(pixels)
    decoded = vae.decode(moments[:, :16])

    half = vae.to(torch.bfloat16)
    half_moments = half.encode(pixels.bfloat16())
    half_decoded = half.decode(moments[:, :16].bfloat16())

    # bfloat16 has 8 bits; some thirty layers with normalisations add up to a few per cent.
    assert relative_error(half_moments, moments) < 0.05
    assert relative_error(half_decoded, decoded) < 0.05


def test_the_log_variance_is_bounded():
    moments = torch.cat([torch.ones(1, 16, 1, 1), torch.full((1, 16, 1, 1), 1000.0)], dim=1)

    drawn = sample(moments.bfloat16(), torch.ones(1, 16, 1, 1))

    assert drawn.dtype == torch.float32
    torch.testing.assert_close(drawn, torch.full((1, 16, 1, 1), 1 + torch.e**10))
