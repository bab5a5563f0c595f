"""Whatever the bytes are, the answer is a picture or an error of the request."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from models.errors import ImageTooLarge, ImageUnreadable, RequestError
from models.image import Picture
from tests.pictures import make_pixels, make_tiff, save, srgb_profile
from workers.codec import decode, probe, read_provenance
from workers.exif import cleaned, parse

LIMIT = 4096


def samples() -> dict[str, bytes]:
    """Return one small valid file for each decoder and each path through our own code."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.Make] = "Camera"
    exif._ifds[ExifTags.IFD.Exif] = {ExifTags.Base.ExposureTime: 0.25}
    colour = Image.fromarray(make_pixels(23, 17))
    deep = make_pixels(23, 17, bits=16)
    return {
        "jpeg": save(colour, "JPEG", exif=exif, icc_profile=srgb_profile()),
        "jpeg-progressive": save(colour, "JPEG", progressive=True),
        "jpeg-cmyk": save(colour.convert("CMYK"), "JPEG"),
        "png": save(colour, "PNG", exif=exif, icc_profile=srgb_profile()),
        "png-palette": save(colour.quantize(16), "PNG", transparency=1),
        "png-16": save(deep[..., 0], "PNG"),
        "webp": save(colour, "WEBP", exif=exif, icc_profile=srgb_profile()),
        "webp-lossless": save(colour.convert("RGBA"), "WEBP", lossless=True),
        "tiff": save(colour, "TIFF", exif=exif),
        "tiff-lzw": save(colour, "TIFF", compression="tiff_lzw"),
        "tiff-jpeg": save(colour, "TIFF", compression="jpeg"),
        "tiff-16": make_tiff(deep),
        "tiff-16-deflate": make_tiff(deep, deflate=True, predictor=True),
        "tiff-lab": make_tiff(np.array(colour), photometric=8),
        "tiff-bilevel": save(colour.convert("1"), "TIFF", compression="group4"),
        "avif": save(colour, "AVIF", exif=exif),
        "gif": save(colour.quantize(16), "GIF", transparency=1),
        "bmp": save(colour, "BMP"),
        "bmp-palette": save(colour.quantize(16), "BMP"),
    }


SAMPLES = samples()
every_sample = pytest.mark.parametrize("name", SAMPLES)


def answer(data: bytes) -> Picture | RequestError:
    """Decode; any exception that is not one of the request escapes and fails the test."""
    try:
        return decode(data, max_pixels=LIMIT)
    except RequestError as error:
        return error


@every_sample
def test_every_sample_is_valid(name):
    assert isinstance(answer(SAMPLES[name]), Picture)


@every_sample
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.data())
def test_no_mutation_escapes(name, data):
    mutated = bytearray(SAMPLES[name])
    for _ in range(data.draw(st.integers(1, 6))):
        # Headers are where the damage is done: half of the changes go to the first 200 bytes.
        last = min(len(mutated), data.draw(st.sampled_from([200, 2**20]))) - 1
        where = data.draw(st.integers(0, last))
        piece = data.draw(st.binary(max_size=4) | st.sampled_from([b"\xff" * 4, b"\0" * 4]))
        mutated[where : where + data.draw(st.integers(0, 4))] = piece

    outcome = answer(bytes(mutated))

    assert isinstance(outcome, RequestError) or outcome.width * outcome.height <= LIMIT


@every_sample
@settings(max_examples=25, deadline=None)
@given(share=st.floats(0, 0.999))
def test_no_truncation_escapes(name, share):
    answer(SAMPLES[name][: int(share * len(SAMPLES[name]))])


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([data[:16] for data in SAMPLES.values()]), st.binary(max_size=200))
def test_no_garbage_after_a_valid_beginning_escapes(start, garbage):
    answer(start + garbage)
    answer(garbage)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b""]), st.binary(max_size=300))
def test_no_exif_block_escapes(start, garbage):
    exif = parse(b"Exif\0\0" + start + garbage)

    block = cleaned(exif) if exif else None

    assert block is None or parse(block) is not None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty (0 bytes)"),
        (b"<!DOCTYPE html><html><body>404", "looks like an HTML page"),
        (b"\xef\xbb\xbf \n<html>", "looks like an HTML page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied", "looks like an XML document"),
        (b'{"error": "not found"}', "looks like a JSON document"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "render it first"),
        (b"%PDF-1.7", "a PDF document"),
        (b"8BPS\0\x01", "export it as TIFF or PNG"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "looks like a HEIC photo; convert it to JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "begins with 25 21 50 53"),
        (b"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"),
    ],
)
def test_what_is_no_image_is_told_apart(data, says):
    with pytest.raises(ImageUnreadable) as caught:
        decode(data, max_pixels=LIMIT)

    assert says in str(caught.value)
    with pytest.raises(ImageUnreadable):
        probe(data)
    with pytest.raises(ImageUnreadable):
        read_provenance(data)


def test_formats_that_we_do_not_list_never_reach_pillow():
    """ICO, PCX, PSD, EPS and the like have decoders in Pillow that are seldom tested."""
    data = save(make_pixels(16, 16), "PCX")

    with pytest.raises(ImageUnreadable, match="this is no image that we know"):
        decode(data, max_pixels=LIMIT)


@every_sample
def test_a_file_cut_in_half_is_refused(name):
    with pytest.raises(ImageUnreadable):
        decode(SAMPLES[name][: len(SAMPLES[name]) // 2], max_pixels=LIMIT)


def test_a_flipped_bit_in_the_pixels_of_a_png_is_found():
    data = bytearray(SAMPLES["png"])
    data[-60] ^= 1

    with pytest.raises(ImageUnreadable, match="checksum of chunk 'IDAT'"):
        decode(bytes(data), max_pixels=LIMIT)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def bomb(width: int, height: int, *extra: bytes) -> bytes:
    """Return a PNG that claims a size and holds one row."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(3 * min(width, 10) + 1)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + pixels + png_chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(65, 64), (50_000, 50_000), (2**31 - 1, 2**31 - 1)])
def test_the_pixel_limit_holds_before_anything_is_decoded(size):
    pixels = size[0] * size[1]

    with pytest.raises(ImageTooLarge, match=f"has {pixels:,} pixels, the limit is 4,096"):
        decode(bomb(*size), max_pixels=LIMIT)


@every_sample
def test_the_pixel_limit_holds_for_every_format(name):
    with pytest.raises(ImageTooLarge, match="has 391 pixels, the limit is 390"):
        decode(SAMPLES[name], max_pixels=390)


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_text_chunk_that_unpacks_to_far_more_is_refused(kind):
    packed = zlib.compress(bytes(50_000_000))
    middle = {b"zTXt": b"\0", b"iTXt": b"\x01\0\0\0", b"iCCP": b"\0"}[kind]
    chunk = png_chunk(kind, b"key\0" + middle + packed)

    with pytest.raises(ImageUnreadable, match="too large"):
        decode(bomb(10, 1, chunk), max_pixels=LIMIT)


def test_a_tiff_with_absurd_counts_is_refused():
    data = bytearray(make_tiff(make_pixels(9, 9)))
    for tag in (258, 273, 277, 279):
        entry = data.index(struct.pack("<H", tag), 8 + 9 * 9 * 3)
        data[entry + 4 : entry + 8] = b"\xff\xff\xff\x7f"

    assert isinstance(answer(bytes(data)), RequestError)


def tiled(side: int, tile: int) -> bytes:
    """Return a grey, deflated TIFF of one tile, most of which lies outside of the picture."""
    packer = zlib.compressobj(9)
    pixels = b"".join(packer.compress(bytes(tile)) for _ in range(tile)) + packer.flush()
    shorts = {258: 8, 259: 8, 262: 1, 277: 1}
    longs = {256: side, 257: side, 322: tile, 323: tile, 324: 134, 325: len(pixels)}
    entries = [(tag, struct.pack("<HII", 3, 1, value)) for tag, value in shorts.items()]
    entries += [(tag, struct.pack("<HII", 4, 1, value)) for tag, value in longs.items()]
    directory = b"".join(struct.pack("<H", tag) + rest for tag, rest in sorted(entries))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 10) + directory + bytes(4) + pixels


def test_a_tiff_tile_may_be_larger_than_the_picture():
    assert isinstance(answer(tiled(16, 512)), Picture)


def test_a_tiff_tile_far_larger_than_the_picture_is_refused():
    data = tiled(16, 4096)

    with pytest.raises(ImageUnreadable, match="4096x4096"):
        probe(data)


@pytest.mark.parametrize("change", [(322, 322, 17), (277, 322, 3)])
def test_a_tiff_tile_size_that_only_the_decoder_would_believe_is_refused(change):
    at, tag, type_ = change
    data = bytearray(tiled(16, 512))
    entry = next(start for start in range(10, 130, 12) if data[start : start + 2] == tag_bytes(at))
    data[entry : entry + 4] = tag_bytes(tag) + tag_bytes(type_)

    with pytest.raises(ImageUnreadable):
        probe(bytes(data))


def tag_bytes(number: int) -> bytes:
    return struct.pack("<H", number)


def test_a_tiff_whose_pages_run_in_a_circle_ends():
    data = bytearray(make_tiff(make_pixels(9, 9)))
    (start,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, start)
    struct.pack_into("<I", data, start + 2 + 12 * entries, start)

    assert isinstance(answer(bytes(data)), RequestError)
