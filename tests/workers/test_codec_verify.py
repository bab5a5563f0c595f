"""Results are decoded again before they are stored."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import Kind, ResultImplausible
from models.image import Picture
from models.schema import OutputFormat, Size
from tests.pictures import make_alpha, make_grey, make_picture
from workers.codec import encode, verify

every_output = pytest.mark.parametrize("output", OutputFormat)
BLACK = Picture(pixels=np.zeros((46, 74, 3), np.uint8))
SIZE = Size(74, 46)


def write(picture: Picture, output: OutputFormat = OutputFormat.PNG) -> bytes:
    return encode(picture, output, quality=95, provenance={})


@every_output
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("make", [make_picture, make_grey])
def test_a_good_result_passes(output, bits, make):
    enlarged = make(74, 46, bits=bits, alpha=make_alpha(74, 46, bits=bits))

    verify(write(enlarged, output), size=SIZE, source=make(37, 23), flagged=False)


@every_output
def test_another_size_is_found(output):
    encoded = write(make_picture(74, 46), output)

    with pytest.raises(ResultImplausible, match="has 74x46 pixels instead of 75x46") as caught:
        verify(encoded, size=Size(75, 46), source=make_picture(), flagged=False)

    assert caught.value.kind is Kind.PROGRAM


@every_output
def test_a_flat_result_of_a_picture_is_found(output):
    with pytest.raises(ResultImplausible, match="one flat colour"):
        verify(write(BLACK, output), size=SIZE, source=make_picture(), flagged=False)


def test_a_flat_16_bit_result_is_found():
    black = Picture(pixels=np.zeros((46, 74, 3), np.uint16))

    with pytest.raises(ResultImplausible, match="one flat colour"):
        verify(write(black), size=SIZE, source=make_picture(bits=16), flagged=False)


@every_output
def test_a_flagged_result_may_be_black(output):
    verify(write(BLACK, output), size=SIZE, source=make_picture(), flagged=True)


@every_output
@given(level=st.integers(0, 255), width=st.integers(1, 9), height=st.integers(1, 9))
def test_a_flat_source_may_stay_flat(output, level, width, height):
    source = Picture(pixels=np.full((height, width, 3), level, np.uint8))
    enlarged = Picture(pixels=np.full((2 * height, 2 * width, 3), level, np.uint8))

    verify(write(enlarged, output), size=Size(2 * width, 2 * height), source=source, flagged=False)


def test_a_source_without_a_visible_pixel_may_become_white():
    source = make_picture(alpha=np.zeros((23, 37), np.uint8))
    white = Picture(pixels=np.full((46, 74, 3), 255, np.uint8))

    verify(write(white, OutputFormat.JPG), size=SIZE, source=source, flagged=False)


def test_one_pixel_is_flat_whatever_it_came_from():
    encoded = write(make_picture(1, 1))

    verify(encoded, size=Size(1, 1), source=make_picture(10, 10), flagged=False)


def test_a_single_speck_may_drown_when_a_white_page_shrinks():
    page = np.full((500, 500, 3), 255, np.uint8)
    page[250, 250] = 0
    white = Picture(pixels=np.full((50, 50, 3), 255, np.uint8))

    verify(write(white), size=Size(50, 50), source=Picture(pixels=page), flagged=False)


def test_a_fine_pattern_that_is_flat_from_afar_is_no_flat_result():
    chequered = np.indices((64, 64)).sum(axis=0) % 2 * 60 + 100
    picture = Picture(pixels=np.repeat(chequered[..., None], 3, axis=2).astype(np.uint8))

    verify(
        write(picture, OutputFormat.JPG), size=Size(64, 64), source=make_picture(), flagged=False
    )


@every_output
@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_a_cut_off_result_is_found(output, share):
    encoded = write(make_picture(74, 46), output)

    with pytest.raises(ResultImplausible, match="cannot be decoded again"):
        verify(
            encoded[: int(share * len(encoded))], size=SIZE, source=make_picture(), flagged=False
        )


def test_a_flipped_bit_in_a_png_is_found():
    encoded = bytearray(write(make_picture(74, 46)))
    encoded[len(encoded) // 2] ^= 4

    with pytest.raises(ResultImplausible, match="checksum"):
        verify(bytes(encoded), size=SIZE, source=make_picture(), flagged=False)
