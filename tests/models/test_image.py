"""The policy for alpha, depth and grey."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from models.errors import NotFinite, ResultImplausible
from models.image import convert_depth, fill_hidden, from_tensor, on_white, reassemble, to_8bit
from tests.pictures import make_alpha, make_grey, make_picture, make_pixels

SIDES = st.integers(1, 40)
BITS = st.sampled_from([8, 16])


@given(width=SIDES, height=SIDES, bits=BITS)
def test_alpha_takes_the_size_and_depth_of_the_enlarged_pixels(width, height, bits):
    picture = make_picture(width, height, bits=bits, alpha=make_alpha(width, height, bits=bits))
    enlarged = make_pixels(2 * width + 1, 3 * height, bits=8)

    whole = reassemble(picture, enlarged)

    assert whole.alpha.shape == enlarged.shape[:2]
    assert whole.alpha.dtype == np.uint8
    assert whole.pixels is enlarged


def test_enlarged_alpha_is_pillows_lanczos_up_to_rounding():
    picture = make_picture(31, 17, alpha=make_pixels(31, 17)[..., 0])

    whole = reassemble(picture, make_pixels(62, 34))

    expected = Image.fromarray(picture.alpha).resize((62, 34), Image.Resampling.LANCZOS)
    assert np.abs(whole.alpha.astype(int) - np.array(expected)).max() <= 1


def test_profile_and_exif_are_handed_over():
    picture = make_picture(icc=b"profile", exif=b"exif")

    whole = reassemble(picture, make_pixels(74, 46))

    assert (whole.icc, whole.exif, whole.grey) == (b"profile", b"exif", False)


@given(bits=BITS)
def test_a_grey_picture_becomes_grey_again_whatever_the_model_made_of_it(bits):
    coloured = make_pixels(9, 7, bits=bits)

    whole = reassemble(make_grey(9, 7), coloured)

    assert whole.grey
    assert (whole.pixels == whole.pixels[..., :1]).all()
    luma = coloured @ np.array([0.299, 0.587, 0.114])
    assert np.abs(whole.pixels[..., 0] - luma).max() <= 0.51


@pytest.mark.parametrize(
    "pixels", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))]
)
def test_a_model_that_returns_no_rgb_is_found_out(pixels):
    with pytest.raises(ResultImplausible, match="not RGB of 8 or 16 bits"):
        reassemble(make_picture(), pixels)


@given(st.integers(0, 2**16 - 1))
def test_sixteen_bits_round_to_the_nearest_of_eight(value):
    rounded = convert_depth(np.full((1, 1), value, np.uint16), 8)

    assert rounded.dtype == np.uint8
    assert rounded[0, 0] == round(value / 257)


@given(st.integers(0, 255))
def test_eight_bits_survive_the_way_through_sixteen(value):
    samples = np.full((2, 3, 3), value, np.uint8)

    assert (convert_depth(convert_depth(samples, 16), 8) == samples).all()


def test_the_8_bit_form_of_an_8_bit_picture_is_itself():
    picture = make_picture(alpha=make_alpha(37, 23))

    shallow = to_8bit(picture)

    assert shallow.pixels is picture.pixels
    assert shallow.alpha is picture.alpha


@pytest.mark.parametrize("bits", [8, 16])
def test_a_picture_without_opacity_is_white_on_white_and_a_full_one_is_itself(bits):
    most = 2**bits - 1
    alpha = make_alpha(37, 23, bits=bits)
    picture = make_picture(bits=bits, alpha=alpha)

    composed = on_white(picture)

    assert (composed[:, 0] == most).all()
    assert (composed[:, -1] == picture.pixels[:, -1]).all()
    opacity = alpha[..., None] / most
    assert np.abs(composed - (picture.pixels * opacity + most * (1 - opacity))).max() <= 0.51


@given(width=SIDES, height=SIDES, bits=BITS, seed=st.integers(0, 9))
def test_hidden_colours_never_show_at_an_edge(width, height, bits, seed):
    """A red disc on invisible black, green or white must stay purely red when enlarged."""
    rng = np.random.default_rng(seed)
    most = 2**bits - 1
    alpha = (rng.random((height, width)) < 0.5) * rng.integers(1, most + 1, (height, width))
    alpha = alpha.astype(np.uint8 if bits == 8 else np.uint16)
    alpha[0, 0] = most
    garbage = rng.integers(0, most + 1, (height, width, 3)).astype(alpha.dtype)
    pixels = np.where(alpha[..., None] == 0, garbage, [most, 0, 0]).astype(alpha.dtype)

    filled = fill_hidden(pixels, alpha)

    assert (filled == [most, 0, 0]).all()


def test_visible_pixels_keep_their_colour_when_hidden_ones_are_filled():
    ramp = np.linspace(0, 255, 601).astype(np.uint8)  # more than two bands of rows
    pixels = np.repeat(np.repeat(ramp[:, None, None], 600, axis=1), 3, axis=2)
    alpha = make_alpha(600, 601)
    alpha[100:500, 200:400] = 0

    filled = fill_hidden(pixels, alpha)

    visible = alpha > 0
    assert (filled[visible] == pixels[visible]).all()
    assert abs(int(filled[300, 201, 0]) - int(pixels[300, 199, 0])) < 8


@pytest.mark.parametrize("opacity", [0, 255])
def test_nothing_is_filled_where_nothing_or_everything_is_visible(opacity):
    pixels = make_pixels(5, 4)

    assert fill_hidden(pixels, np.full((4, 5), opacity, np.uint8)) is pixels


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("bits", "most"), [(8, 255), (16, 65535)])
def test_a_tensor_is_clipped_and_rounded(dtype, bits, most):
    tensor = torch.tensor([-0.5, 0.0, 0.5, 1.0, 1.5], dtype=dtype).expand(3, 2, 5)

    pixels = from_tensor(tensor, bits=bits)

    assert pixels.shape == (2, 5, 3)
    assert pixels.flags.c_contiguous
    assert pixels[0, :, 1].tolist() == [0, 0, round(most / 2), most, most]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_nan_and_infinity_are_never_clipped_away(value):
    tensor = torch.zeros(3, 4, 4)
    tensor[1, 2, 3] = value

    with pytest.raises(NotFinite, match="1 of 48 values"):
        from_tensor(tensor)


def test_pictures_load_no_torch():
    program = (
        "import sys, models.image, models.canvas, models.upscaler; sys.exit('torch' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
