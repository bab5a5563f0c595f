"""16 bits a sample, in every layout of PNG and TIFF that is read."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import ImageUnreadable
from models.schema import OutputFormat
from tests.pictures import make_alpha, make_picture, make_pixels, make_tiff, save
from workers.codec import decode, encode, probe

LIMIT = 1_000_000
orders = pytest.mark.parametrize("order", ["<", ">"])
compressions = pytest.mark.parametrize("deflate", [False, True])


def read(data: bytes):
    return decode(data, max_pixels=LIMIT)


def make_rgba(width: int = 29, height: int = 13) -> np.ndarray:
    alpha = np.maximum(make_alpha(width, height, bits=16), 1)
    return np.dstack([make_pixels(width, height, bits=16), alpha])


@orders
@compressions
@given(width=st.integers(1, 40), height=st.integers(1, 40))
def test_rgb_tiff_keeps_all_16_bits(order, deflate, width, height):
    samples = make_pixels(width, height, bits=16)
    data = make_tiff(samples, order=order, deflate=deflate)

    header, picture = probe(data), read(data)

    assert header.bits == 16
    assert header.decoded_bytes == picture.pixels.nbytes
    assert np.array_equal(picture.pixels, samples)


@orders
@compressions
def test_rgb_and_alpha_of_a_tiff_keep_all_16_bits(order, deflate):
    samples = make_rgba()

    picture = read(make_tiff(samples, order=order, deflate=deflate, extra=2))

    assert np.array_equal(picture.pixels, samples[..., :3])
    assert np.array_equal(picture.alpha, samples[..., 3])


@orders
@compressions
def test_premultiplied_alpha_of_a_tiff_is_divided_out(order, deflate):
    samples = make_rgba()
    opacity = samples[..., 3:] / 65535
    multiplied = samples.copy()
    multiplied[..., :3] = (samples[..., :3] * opacity).round()

    picture = read(make_tiff(multiplied, order=order, deflate=deflate, extra=1))

    assert np.array_equal(picture.alpha, samples[..., 3])
    error = np.abs(picture.pixels.astype(int) - samples[..., :3]) * opacity
    assert error.max() <= 1


@orders
@compressions
def test_an_unspecified_fourth_channel_is_ignored(order, deflate):
    samples = make_rgba()

    picture = read(make_tiff(samples, order=order, deflate=deflate, extra=0))

    assert picture.alpha is None
    assert np.array_equal(picture.pixels, samples[..., :3])


@orders
def test_a_predictor_is_undone(order):
    samples = make_pixels(29, 13, bits=16)

    picture = read(make_tiff(samples, order=order, deflate=True, predictor=True))

    assert np.array_equal(picture.pixels, samples)


@orders
@compressions
def test_grey_tiff_keeps_all_16_bits(order, deflate):
    samples = make_pixels(29, 13, bits=16)[..., :1]

    picture = read(make_tiff(samples, order=order, deflate=deflate, photometric=1))

    assert picture.grey
    assert np.array_equal(picture.pixels[..., :1], samples)


@compressions
def test_grey_tiff_whose_zero_is_white_is_turned_around(deflate):
    samples = make_pixels(29, 13, bits=16)[..., :1]

    picture = read(make_tiff(samples, deflate=deflate, photometric=0))

    assert np.array_equal(picture.pixels[..., :1], 65535 - samples)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interlaced", [False, True])
def test_png_of_others_keeps_all_16_bits(channels, interlaced):
    samples = make_rgba(8, 8)[..., [[0], [0, 3], [0, 1, 2], [0, 1, 2, 3]][channels - 1]]

    picture = read(foreign_png(samples, interlaced=interlaced))

    assert picture.grey == (channels <= 2)
    expected = samples[..., [0, 0, 0] if channels <= 2 else [0, 1, 2]]
    assert np.array_equal(picture.pixels, expected)
    alpha = samples[..., -1] if channels in (2, 4) else None
    assert np.array_equal(picture.alpha, alpha)


def foreign_png(samples: np.ndarray, *, interlaced: bool) -> bytes:
    """Write 16-bit PNG without filters, interlaced by Adam7 if wanted."""
    passes = ((0, 0, 1, 1),)
    if interlaced:
        passes = (
            (0, 0, 8, 8),
            (4, 0, 8, 8),
            (0, 4, 4, 8),
            (2, 0, 4, 4),
            (0, 2, 2, 4),
            (1, 0, 2, 2),
            (0, 1, 1, 2),
        )
    stored = samples.astype(">u2")
    rows = [b"\0" + row.tobytes() for x, y, dx, dy in passes for row in stored[y::dy, x::dx]]
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[samples.shape[2]]
    header = struct.pack(
        ">IIBBBBB", samples.shape[1], samples.shape[0], 16, colour_type, 0, 0, interlaced
    )
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"".join(rows))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def test_16_bit_results_in_jpeg_and_webp_have_8():
    picture = make_picture(bits=16)

    for output in (OutputFormat.JPG, OutputFormat.WEBP):
        result = encode(picture, output, quality=95, provenance={})

        assert probe(result).bits == 8


def test_planes_one_after_the_other_are_refused_with_the_remedy():
    with pytest.raises(ImageUnreadable, match="save it interleaved"):
        read(make_tiff(make_pixels(9, 9, bits=16), planar=True))


@pytest.mark.parametrize(
    ("dtype", "sample_format"), [(np.int32, 2), (np.uint32, 1), (np.float32, 3), (np.int16, 2)]
)
def test_samples_without_an_agreed_white_are_refused_with_the_remedy(dtype, sample_format):
    samples = np.ones((9, 9, 1), dtype)

    with pytest.raises(ImageUnreadable, match="convert the picture to 16 bits"):
        read(make_tiff(samples, photometric=1, sample_format=sample_format))


def test_16_bit_cmyk_is_read_at_8():
    samples = make_rgba()

    picture = read(make_tiff(samples, photometric=5))

    assert picture.pixels.dtype == np.uint8


def test_grey_png_by_pillow_keeps_all_16_bits():
    grey = make_pixels(29, 13, bits=16)[..., 0]

    assert np.array_equal(read(save(grey, "PNG")).pixels[..., 0], grey)
