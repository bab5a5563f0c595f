"""Bytes to pictures and back: the table of ``docs/images.md``, row by row."""

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from models.errors import ImageTooLarge, ImageUnreadable
from models.image import Picture, reassemble
from models.schema import OutputFormat, Size
from tests.pictures import (
    make_alpha,
    make_grey,
    make_picture,
    make_pixels,
    make_tiff,
    save,
    srgb_profile,
)
from workers.codec import decode, encode, probe

LIMIT = 10_000_000
every_output = pytest.mark.parametrize("output", OutputFormat)


def write(picture: Picture, output: OutputFormat = OutputFormat.PNG) -> bytes:
    return encode(picture, output, quality=95, provenance={"seed": "7"})


def read(data: bytes) -> Picture:
    return decode(data, max_pixels=LIMIT)


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    bits=st.sampled_from([8, 16]),
    grey=st.booleans(),
    alpha=st.booleans(),
)
def test_png_gives_back_every_sample(width, height, bits, grey, alpha):
    make = make_grey if grey else make_picture
    opacity = make_alpha(width, height, bits=bits) // 2 + 1 if alpha else None
    picture = make(width, height, bits=bits, alpha=opacity)

    again = read(write(picture))

    assert again.pixels.dtype == picture.pixels.dtype
    assert np.array_equal(again.pixels, picture.pixels)
    assert again.grey == grey
    assert (again.alpha is None) == (not alpha)
    assert not alpha or np.array_equal(again.alpha, opacity)


def test_a_16_bit_png_taller_than_a_band_gives_back_every_sample():
    picture = make_picture(601, 700, bits=16)  # several bands, several IDAT chunks

    data = write(picture)

    assert data.count(b"IDAT") > 1
    assert np.array_equal(read(data).pixels, picture.pixels)


@every_output
@pytest.mark.parametrize("bits", [8, 16])
def test_a_result_decodes_close_to_the_picture(output, bits):
    picture = make_picture(61, 47, bits=bits)

    again = read(write(picture, output))

    scale = 255 / np.iinfo(again.pixels.dtype).max
    expected = picture.pixels * (255 / np.iinfo(picture.pixels.dtype).max)
    assert np.abs(again.pixels * scale - expected).mean() < 3


@every_output
def test_the_same_call_gives_the_same_bytes_from_any_thread(output):
    pictures = [
        make_picture(97, 61, alpha=make_alpha(97, 61), icc=srgb_profile()) for _ in range(8)
    ]

    with ThreadPoolExecutor(8) as pool:
        results = set(pool.map(lambda picture: write(picture, output), pictures))

    assert len(results) == 1


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "AVIF", "GIF"])
def test_each_format_is_read_and_known_by_its_content(file_format):
    pixels = make_pixels(40, 31)
    data = save(pixels, file_format)

    header = probe(data)
    picture = read(data)

    assert header.format.upper() == file_format
    assert (header.size, header.bits, header.frames) == (Size(40, 31), 8, 1)
    assert header.decoded_bytes >= picture.pixels.nbytes
    assert np.abs(picture.pixels.astype(int) - pixels).mean() < 6
    assert (picture.alpha, picture.grey) == (None, False)


@every_output
@pytest.mark.parametrize("bits", [8, 16])
def test_a_colour_profile_is_kept(output, bits):
    picture = make_picture(bits=bits, icc=srgb_profile())

    result = write(picture, output)

    assert Image.open(BytesIO(result)).info["icc_profile"] == srgb_profile()
    assert read(result).icc == srgb_profile()


def test_a_profile_for_other_pixels_is_dropped():
    grey = make_pixels(9, 9)[..., 0]
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()

    assert read(save(grey, "PNG", icc_profile=srgb_profile())).icc is None
    assert read(save(make_pixels(9, 9), "PNG", icc_profile=lab)).icc is None
    assert read(save(make_pixels(9, 9), "PNG", icc_profile=b"nonsense")).icc is None


def test_cmyk_becomes_rgb():
    cmyk = Image.fromarray(make_pixels(40, 31)).convert("CMYK")

    pictures = [read(save(cmyk, "JPEG", quality=95)), read(save(cmyk, "TIFF"))]

    for picture in pictures:
        assert picture.icc is None
        assert np.abs(picture.pixels.astype(int) - np.array(cmyk.convert("RGB"))).mean() < 3


@pytest.mark.parametrize(
    "profile", [b"nonsense", b"\0" * 16 + b"CMYK" + b"\0" * 16 + b"acsp" + bytes(99)]
)
def test_cmyk_with_a_broken_profile_is_converted_plainly(profile):
    cmyk = Image.fromarray(make_pixels(40, 31)).convert("CMYK")

    picture = read(save(cmyk, "TIFF", icc_profile=profile))

    assert np.array_equal(picture.pixels, np.array(cmyk.convert("RGB")))


def test_lab_becomes_srgb():
    lab = np.zeros((4, 4, 3), np.uint8)
    lab[..., 0] = 255  # L* = 100, a* = b* = 0

    picture = read(make_tiff(lab, photometric=8))

    assert (picture.pixels >= 254).all()


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [
        ("1", "PNG"),
        ("L", "PNG"),
        ("L", "JPEG"),
        ("LA", "PNG"),
        ("1", "TIFF"),
        ("L", "TIFF"),
        ("LA", "TIFF"),
    ],
)
@every_output
def test_grey_stays_grey(mode, file_format, output):
    image = Image.fromarray(make_pixels(40, 31)).convert(mode)

    picture = read(save(image, file_format))
    again = Image.open(BytesIO(write(picture, output)))

    assert picture.grey
    assert (picture.pixels == picture.pixels[..., :1]).all()
    assert again.mode == {"png": "L", "jpg": "L", "webp": "RGB"}[output]
    tint = np.ptp(np.array(again.convert("RGB")), axis=2).max()
    assert tint <= (2 if output is OutputFormat.WEBP else 0)  # WebP rounds its colour channels


def test_grey_with_a_profile_of_its_own_is_converted_for_webp_only():
    gamma_1 = grey_profile()
    picture = make_grey(icc=gamma_1)

    png, webp = read(write(picture)), read(write(picture, OutputFormat.WEBP))

    assert png.icc == gamma_1
    assert webp.icc is None
    assert webp.pixels.mean() > picture.pixels.mean() + 20  # a linear half is an sRGB 188


def grey_profile() -> bytes:
    """Return a monochrome display profile whose tone curve is a straight line."""
    white = b"XYZ \0\0\0\0" + b"\x00\x00\xf6\xd6\x00\x01\x00\x00\x00\x00\xd3\x2d"
    curve = b"curv\0\0\0\0" + bytes(4)
    size = 128 + 4 + 24 + len(white) + len(curve)
    table = (2).to_bytes(4, "big")
    table += b"wtpt" + (156).to_bytes(4, "big") + len(white).to_bytes(4, "big")
    table += b"kTRC" + (156 + len(white)).to_bytes(4, "big") + len(curve).to_bytes(4, "big")
    header = size.to_bytes(4, "big") + bytes(4) + b"\x02\x40\0\0mntrGRAYXYZ " + bytes(12) + b"acsp"
    header = header.ljust(68, b"\0") + b"\x00\x00\xf6\xd6\x00\x01\x00\x00\x00\x00\xd3\x2d"
    return header.ljust(128, b"\0") + table + white + curve


def test_palettes_become_rgb_and_transparent_ones_rgba():
    palette = Image.fromarray(make_pixels(40, 31)).quantize(16)
    expected = np.array(palette.convert("RGB"))

    opaque, transparent = read(save(palette, "PNG")), read(save(palette, "PNG", transparency=3))

    assert np.array_equal(opaque.pixels, expected)
    assert opaque.alpha is None
    assert np.array_equal(transparent.alpha, np.where(np.array(palette) == 3, 0, 255))
    visible = transparent.alpha > 0
    assert np.array_equal(transparent.pixels[visible], expected[visible])


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_grey_that_stands_for_transparent_is_found_at_any_depth(depth):
    picture = read(png_with_transparent_1(depth))

    most = 65535 if depth == 16 else 255
    assert picture.alpha.tolist() == [[0, most], [0, most]]
    assert picture.grey


def png_with_transparent_1(depth: int) -> bytes:
    """Return a grey PNG of 2 x 2 with 1, which is transparent, at the left and 0 at the right."""
    bits = 1 << max(depth, 8 - depth)  # 1 and 0 side by side, padded to a byte
    row = b"\0" + bits.to_bytes(max(1, depth // 4), "big")
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", 2, 2, depth, 0, 0, 0, 0)),
        (b"tRNS", b"\0\x01"),
        (b"IDAT", zlib.compress(row * 2)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )


def test_a_colour_that_stands_for_transparent_is_found():
    pixels = make_pixels(9, 7)
    pixels[2, 3] = (1, 2, 3)

    picture = read(save(pixels, "PNG", transparency=(1, 2, 3)))

    assert np.argwhere(picture.alpha == 0).tolist() == [[2, 3]]


def test_alpha_that_is_full_everywhere_is_dropped():
    opaque = np.dstack([make_pixels(9, 7), np.full((7, 9), 255, np.uint8)])

    assert read(save(opaque, "PNG")).alpha is None


def test_a_cut_out_enlarged_has_no_fringe():
    """A red square on invisible black: whatever is visible in the result is red."""
    rgba = np.zeros((20, 20, 4), np.uint8)
    rgba[5:15, 5:15] = (255, 0, 0, 255)
    picture = read(save(rgba, "PNG"))
    enlarged = np.array(Image.fromarray(picture.pixels).resize((60, 60), Image.Resampling.LANCZOS))

    result = read(write(reassemble(picture, enlarged)))

    visible = result.alpha > 0
    assert (result.pixels[visible] == (255, 0, 0)).all()
    assert 900 <= visible.sum() < 1600


def test_jpeg_composes_alpha_on_white():
    picture = make_picture(64, 16, alpha=np.zeros((16, 64), np.uint8))

    result = read(write(picture, OutputFormat.JPG))

    assert (result.pixels >= 254).all()


@pytest.mark.parametrize("output", [OutputFormat.WEBP, OutputFormat.JPG])
def test_a_result_too_long_for_its_format_is_refused(output):
    picture = Picture(pixels=np.zeros((1, 65_501, 3), np.uint8))

    with pytest.raises(ImageTooLarge, match=f"does not fit into {output}"):
        write(picture, output)


def test_photographs_and_drawings_are_each_packed_in_the_way_that_suits_them():
    drawing = np.full((400, 400, 3), 255, np.uint8)
    drawing[:, ::7], drawing[::5] = (20, 40, 60), (200, 10, 10)
    photograph = make_pixels(400, 400)

    sizes = [len(write(Picture(pixels=pixels))) for pixels in (drawing, photograph)]

    assert sizes[0] < 1.3 * len(save(drawing, "PNG"))
    assert sizes[1] < 1.05 * len(save(photograph, "PNG"))


@pytest.mark.parametrize("file_format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_animations_and_pages_are_refused(file_format):
    frames = [Image.fromarray(make_pixels(24, 24, seed=seed)) for seed in range(3)]
    data = save(frames[0], file_format, save_all=True, append_images=frames[1:])

    assert probe(data).frames == 2
    with pytest.raises(ImageUnreadable, match="animated or has several pages"):
        read(data)


def test_the_thumbnail_page_of_a_tiff_is_no_second_page():
    frames = [Image.fromarray(make_pixels(side, side)) for side in (24, 8)]
    frames[1].encoderinfo = {"tiffinfo": {254: 1}}
    data = save(frames[0], "TIFF", save_all=True, append_images=frames[1:])

    assert probe(data).frames == 1
    assert read(data).width == 24


def test_the_second_picture_of_a_multi_picture_jpeg_is_ignored():
    frames = [Image.fromarray(make_pixels(24, 24, seed=seed)) for seed in range(2)]
    data = save(frames[0], "MPO", save_all=True, append_images=frames[1:])

    assert probe(data).format == "JPEG"
    assert np.abs(read(data).pixels.astype(int) - np.array(frames[0])).mean() < 6
