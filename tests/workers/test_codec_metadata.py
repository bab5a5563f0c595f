"""EXIF and provenance: what is kept, what is dropped, what is added."""

import json
from io import BytesIO

import numpy as np
import pytest
from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from models.errors import ArgumentInvalid
from models.image import Picture
from models.schema import OutputFormat
from tests.pictures import make_picture, make_pixels, save
from workers.codec import decode, encode, probe, read_provenance

PROVENANCE = {"endpoint": "enlarger/lanczos", "seed": "7", "arguments": '{"prompt": "Zürich 苏"}'}
every_output = pytest.mark.parametrize("output", OutputFormat)


def write(picture: Picture, output: OutputFormat = OutputFormat.PNG, **overrides) -> bytes:
    return encode(picture, output, **{"quality": 95, "provenance": PROVENANCE} | overrides)


def read(data: bytes) -> Picture:
    return decode(data, max_pixels=1_000_000)


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_removed(orientation, file_format):
    pixels = np.repeat(np.repeat(make_pixels(5, 3, seed=3), 16, axis=0), 16, axis=1)
    upright = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.Base.Make] = "Camera"
    undo = {
        5: 5,
        6: 2,
        7: 6,
        8: 4,
        2: 0,
        3: 3,
        4: 1,
    }  # Image.Transpose that leads back to the sensor
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    data = save(stored, file_format, exif=exif)

    picture = read(data)

    assert probe(data).size == (80, 48)
    assert np.abs(picture.pixels.astype(int) - pixels).mean() < 6
    kept = read_exif(picture.exif)
    assert kept[ExifTags.Base.Make] == "Camera"
    assert ExifTags.Base.Orientation not in kept


def read_exif(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    exif.load(block)
    return exif


@every_output
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif_survives_with_the_provenance_beside_it(output, order):
    exif = Image.Exif()
    exif.endian = order
    exif[ExifTags.Base.Make] = "Camera"
    exif[ExifTags.Base.ImageDescription] = "A lake"
    exif[ExifTags.Base.ImageWidth] = 40
    detail = {ExifTags.Base.ExposureTime: 0.25, ExifTags.Base.ExifImageWidth: 40}
    exif._ifds[ExifTags.IFD.Exif] = detail | {ExifTags.Base.MakerNote: b"private" * 9}
    exif._ifds[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitude: (46.0, 57.0, 3.5)}
    data = save(make_pixels(40, 31), "JPEG", exif=exif)

    result = write(read(data), output)

    kept = Image.open(BytesIO(result)).getexif()
    assert kept[ExifTags.Base.Make] == "Camera"
    assert kept[ExifTags.Base.ImageDescription] == "A lake"
    assert ExifTags.Base.ImageWidth not in kept
    inner = kept.get_ifd(ExifTags.IFD.Exif)
    assert inner[ExifTags.Base.ExposureTime] == 0.25
    assert inner[ExifTags.Base.MakerNote] == b"private" * 9
    assert ExifTags.Base.ExifImageWidth not in inner
    assert kept.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitude] == (46.0, 57.0, 3.5)
    assert read_provenance(result) == PROVENANCE


def test_the_thumbnail_of_the_source_is_dropped():
    thumbnail = save(make_pixels(16, 12), "JPEG")
    main = b"\x00\x01" + b"\x01\x0f\x00\x02\x00\x00\x00\x04Cam\0" + b"\x00\x00\x00\x1a"
    second = b"\x00\x02" + b"\x02\x01\x00\x04\x00\x00\x00\x01\x00\x00\x00\x38"
    second += b"\x02\x02\x00\x04\x00\x00\x00\x01" + len(thumbnail).to_bytes(4, "big") + bytes(4)
    block = b"Exif\0\0MM\0*\x00\x00\x00\x08" + main + second + thumbnail
    data = save(make_pixels(40, 31), "JPEG", exif=block)
    assert thumbnail in data

    result = write(read(data), OutputFormat.JPG)

    assert thumbnail not in result
    assert Image.open(BytesIO(result)).getexif()[ExifTags.Base.Make] == "Cam"


@every_output
def test_provenance_is_read_back_from_a_picture_without_exif(output):
    assert read_provenance(write(make_picture(), output)) == PROVENANCE


def test_provenance_of_16_bits_is_read_back():
    assert read_provenance(write(make_picture(bits=16))) == PROVENANCE


def test_a_picture_that_is_no_result_has_no_provenance():
    assert read_provenance(save(make_pixels(4, 4), "PNG")) == {}
    assert read_provenance(save(make_pixels(4, 4), "JPEG")) == {}


@pytest.mark.parametrize("text", ["Cropped in 2019", "[1]", '"text"', '{"enlarger": 5}', "{}"])
def test_what_others_wrote_where_ours_would_stand_is_no_provenance_and_no_damage(text):
    exif = Image.Exif()
    exif[ExifTags.Base.ImageHistory] = text
    chunks = PngInfo()
    chunks.add_itxt("enlarger", text)

    assert read_provenance(save(make_pixels(4, 4), "JPEG", exif=exif)) == {}
    assert "job" not in read_provenance(save(make_pixels(4, 4), "PNG", pnginfo=chunks))


def test_exif_too_long_for_jpeg_gives_way_to_the_provenance():
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Camera"
    exif._ifds[ExifTags.IFD.Exif] = {ExifTags.Base.MakerNote: bytes(65_000)}
    source = read(save(make_pixels(8, 8), "WEBP", exif=exif))
    arguments = {"prompt": "x" * 2000}

    result = write(source, OutputFormat.JPG, provenance=arguments)

    kept = Image.open(BytesIO(result)).getexif()
    assert read_provenance(result) == arguments
    assert kept[ExifTags.Base.Make] == "Camera"
    assert ExifTags.Base.MakerNote not in kept.get_ifd(ExifTags.IFD.Exif)


def test_provenance_too_long_for_jpeg_is_refused_with_the_remedy():
    with pytest.raises(ArgumentInvalid, match="set output_format to png"):
        write(make_picture(), OutputFormat.JPG, provenance={"prompt": "x" * 70_000})


def test_provenance_in_jpeg_is_one_json_object_in_the_image_history():
    result = write(make_picture(), OutputFormat.JPG)

    text = Image.open(BytesIO(result)).getexif()[ExifTags.Base.ImageHistory]

    assert json.loads(text) == {"enlarger": PROVENANCE}


def test_provenance_in_png_is_one_json_object_in_a_text_chunk():
    image = Image.open(BytesIO(write(make_picture())))

    assert json.loads(image.text["enlarger"]) == PROVENANCE
