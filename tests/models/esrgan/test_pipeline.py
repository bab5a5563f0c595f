from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from models.errors import NotFinite
from models.esrgan.loading import load_network
from models.esrgan.pipeline import EsrganUpscaler, starts
from models.esrgan.schema import EsrganRequest
from models.schema import Size
from tests.checkpoints import write_tensors
from tests.models.contexts import make_context
from tests.models.esrgan.small import small_tensors
from tests.pictures import make_picture, make_pixels


@pytest.fixture
def upscaler(tmp_path) -> EsrganUpscaler:
    return loaded(tmp_path)


def loaded(folder, **sizes) -> EsrganUpscaler:
    path = write_tensors(folder / "network.pth", small_tensors("realesrgan", **sizes))
    network = load_network(path, device="cpu", dtype=torch.float32)
    return EsrganUpscaler(network=network, device="cpu", dtype=torch.float32)


@given(length=st.integers(1, 3000), tile=st.integers(1, 300), overlap=st.integers(0, 32))
def test_tiles_cover_an_axis_and_overlap(length, tile, overlap):
    found = starts(length, tile, overlap)

    size = min(tile, length)
    assert found[0] == 0
    assert found[-1] + size == length
    least = min(overlap, size - 1)
    assert all(0 < after - before <= size - least for before, after in pairwise(found))


def test_the_result_is_the_network_s_resized_by_lanczos(upscaler):
    picture = make_picture(21, 13)

    result = upscaler.upscale(picture, EsrganRequest(image_url="x", scale=2.5), make_context())

    whole = Image.fromarray(upscaler.enlarge(picture.pixels))
    expected = np.asarray(whole.resize((53, 33), Image.Resampling.LANCZOS))
    assert np.array_equal(result.images[0], expected)


def test_tiles_fade_into_each_other_without_a_seam(upscaler):
    """Its sight is short enough here for tiles to agree with the whole away from their borders."""
    pixels = make_pixels(150, 90)

    whole = upscaler.enlarge(pixels, tile=0).astype(int)
    tiled = upscaler.enlarge(pixels, tile=64, overlap=24).astype(int)

    assert np.abs(tiled - whole).max() <= 24
    assert np.abs(tiled - whole).mean() < 0.3


def test_a_network_by_2_is_applied_twice_to_reach_4(tmp_path):
    upscaler = loaded(tmp_path, inputs=12)

    result = upscaler.upscale(make_picture(9, 7), EsrganRequest(image_url="x"), make_context())

    assert result.images[0].shape == (28, 36, 3)


def test_a_network_that_makes_nan_says_so_instead_of_a_black_picture(upscaler):
    with torch.no_grad():
        upscaler.network.conv_last.bias.fill_(float("nan"))

    with pytest.raises(NotFinite, match="float32"):
        upscaler.upscale(make_picture(9, 7), EsrganRequest(image_url="x"), make_context())


def test_halved_tiles_make_nearly_the_same_picture(upscaler):
    picture = make_picture(250, 200)
    request = EsrganRequest(image_url="x", scale=4)

    first = upscaler.upscale(picture, request, make_context()).images[0].astype(int)
    halved = upscaler.upscale(picture, request, make_context(tile_divisor=2)).images[0]

    assert np.abs(first - halved.astype(int)).mean() < 1


def test_bfloat16_stays_close_to_float32(tmp_path, upscaler):
    path = tmp_path / "network.pth"
    narrow = EsrganUpscaler(
        network=load_network(path, device="cpu", dtype=torch.bfloat16),
        device="cpu",
        dtype=torch.bfloat16,
    )
    pixels = make_pixels(30, 20)

    difference = np.abs(narrow.enlarge(pixels).astype(int) - upscaler.enlarge(pixels).astype(int))

    assert difference.mean() < 3


@pytest.mark.parametrize("arguments", [{"scale": 0.5}, {"scale": 4.1}, {"variant": "lanczos"}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValidationError):
        EsrganRequest(image_url="x", **arguments)


def test_limits_hold_for_what_is_worked_on():
    assert EsrganRequest(image_url="x", scale=1).working_size(Size(30, 20)) == (120, 80)
