"""The baseline: Pillow's own resampling, in the depth of the input."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from models.image import Picture
from models.lanczos.pipeline import LanczosUpscaler
from models.lanczos.schema import LanczosRequest
from models.options import NoOptions
from models.schema import OutputFormat, Size
from tests.models.contexts import make_context
from tests.pictures import make_picture, make_pixels

UPSCALER = LanczosUpscaler.load(None, options=NoOptions(), device="cpu", dtype="float32")


def enlarge(picture: Picture, scale: float):
    request = LanczosRequest(image_url="picture.png", scale=scale)
    return UPSCALER.upscale(picture, request, make_context()).images[0]


@given(width=st.integers(1, 50), height=st.integers(1, 50), scale=st.floats(0.1, 4))
def test_8_bit_pixels_are_exactly_pillows(width, height, scale):
    picture = make_picture(width, height)
    size = LanczosRequest(image_url="x", scale=scale).output_size(Size(width, height))

    enlarged = enlarge(picture, scale)

    expected = Image.fromarray(picture.pixels).resize(size, Image.Resampling.LANCZOS)
    assert enlarged.dtype == np.uint8
    assert np.array_equal(enlarged, np.array(expected))


@given(width=st.integers(1, 30), height=st.integers(1, 30), scale=st.floats(0.1, 4))
def test_16_bit_pixels_agree_with_the_8_bit_ones_where_nothing_is_clipped(width, height, scale):
    pixels = make_pixels(width, height) // 3 + 85  # Pillow clips 8 bits between its two passes

    deep = enlarge(Picture(pixels=pixels.astype(np.uint16) * 257), scale)

    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - enlarge(Picture(pixels=pixels), scale)).max() <= 1.5


def test_16_bits_are_finer_than_8():
    ramp = np.repeat(np.arange(300, dtype=np.uint16)[None, :, None] + 30_000, 3, axis=2)

    deep = enlarge(Picture(pixels=np.repeat(ramp, 5, axis=0)), 2.0)

    assert len(np.unique(deep)) > 250


def test_overshoot_at_an_edge_is_clipped_and_does_not_wrap():
    pixels = np.zeros((8, 8, 3), np.uint16)
    pixels[:, 4:] = 65535

    deep = enlarge(Picture(pixels=pixels), 4.0)

    assert (deep[:, :4] < 100).all()
    assert (deep[:, -4:] > 65435).all()


@pytest.mark.parametrize(
    ("size", "scale", "expected"),
    [
        ((1, 1), 0.1, (1, 1)),
        ((3, 5), 1.5, (5, 8)),
        ((7, 1000), 16, (112, 16000)),
        ((99, 3), 1, (99, 3)),
    ],
)
def test_sides_are_rounded_halves_up_and_never_vanish(size, scale, expected):
    request = LanczosRequest(image_url="x", scale=scale)

    assert request.output_size(Size(*size)) == expected


@pytest.mark.parametrize("scale", [0, 0.09, 16.1, -2, float("nan"), float("inf"), "two", None])
def test_a_factor_out_of_range_is_named(scale):
    with pytest.raises(ValidationError) as caught:
        LanczosRequest(image_url="x", scale=scale)

    assert [error["loc"] for error in caught.value.errors()] == [("scale",)]


def test_the_default_is_twice_the_size_as_png():
    request = LanczosRequest(image_url="x")

    assert request.output_size(Size(3, 4)) == (6, 8)
    assert request.encoding() is OutputFormat.PNG


def test_every_field_is_described():
    properties = LanczosRequest.model_json_schema()["properties"]

    assert all(field.get("description") for field in properties.values())
