import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.errors import ArgumentInvalid
from models.schema import OutputFormat, Size
from models.seedvr2.schema import SeedVr2Request

PUBLISHED = {
    "upscale_mode": "factor",
    "upscale_factor": 2.0,
    "target_resolution": "1080p",
    "seed": None,
    "noise_scale": 0.1,
    "output_format": "jpg",
    "sync_mode": False,
}
OURS = {"variant": "3b", "color_fix": "wavelet", "tile_size": 1024}


def make_request(**fields) -> SeedVr2Request:
    return SeedVr2Request(image_url="picture.png", **fields)


def target(resolution: str, width: int, height: int) -> Size:
    request = make_request(upscale_mode="target", target_resolution=resolution)
    return request.output_size(Size(width, height))


def test_fields_and_defaults_are_the_published_ones_and_ours():
    fields = make_request().model_dump(mode="json", exclude={"image_url"})

    assert fields == PUBLISHED | OURS
    assert make_request().encoding() is OutputFormat.JPG


def test_every_field_and_its_default_is_in_the_document():
    page = (Path(__file__).parents[3] / "docs" / "seedvr2.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", page, re.MULTILINE))

    assert rows.pop("image_url") == "required"
    defaults = {name: default.strip("`") for name, default in rows.items() if name != "seed"}
    written = {
        name: str(value).removesuffix(".0").replace("False", "false")
        for name, value in (PUBLISHED | OURS).items()
        if name != "seed"
    }
    assert {name: defaults[name] for name in written} == written


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("upscale_mode", ["target", "factor"]),
        ("upscale_factor", [1, 10]),
        ("target_resolution", ["720p", "1080p", "1440p", "2160p"]),
        ("seed", [0, 2**63 - 1, None]),
        ("noise_scale", [0, 1]),
        ("output_format", ["png", "jpg", "webp"]),
        ("sync_mode", [True]),
        ("variant", ["3b", "7b", "7b_sharp"]),
        ("color_fix", ["wavelet", "lab", "none"]),
        ("tile_size", [128, 8192]),
    ],
)
def test_the_ends_of_every_range_are_taken(field, values):
    for value in values:
        make_request(**{field: value})


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("upscale_mode", ["area"]),
        ("upscale_factor", [0, -1, 0.99, 10.1, float("nan"), float("inf")]),
        ("target_resolution", ["1081p", 1080]),
        ("seed", [-1, 2**63]),
        ("noise_scale", [-0.1, 1.1, float("nan")]),
        ("output_format", ["gif"]),
        ("variant", ["13b"]),
        ("color_fix", ["adain"]),
        ("tile_size", [0, 112, 130, 8208]),
    ],
)
def test_what_is_out_of_range_is_refused_by_its_field(field, values):
    for value in values:
        with pytest.raises(ValidationError) as refused:
            make_request(**{field: value})
        assert [error["loc"] for error in refused.value.errors()] == [(field,)]


@pytest.mark.parametrize(
    ("factor", "size"), [(1, (33, 21)), (2, (66, 42)), (1.5, (50, 32)), (10, (330, 210))]
)
def test_a_factor_multiplies_both_sides_and_rounds_halves_up(factor, size):
    assert make_request(upscale_factor=factor).output_size(Size(33, 21)) == size


@pytest.mark.parametrize(
    ("resolution", "width", "height", "result"),
    [
        ("1080p", 640, 360, (1920, 1080)),
        ("1080p", 360, 640, (1080, 1920)),  # tall: the width is the shorter side
        ("720p", 100, 100, (720, 720)),
        ("2160p", 997, 331, (6506, 2160)),
        ("1080p", 1920, 1080, (1920, 1080)),  # restored at its own size
        ("720p", 1, 50, (720, 36000)),
    ],
)
def test_a_target_is_the_length_of_the_shorter_side(resolution, width, height, result):
    assert target(resolution, width, height) == result


@pytest.mark.parametrize(("width", "height"), [(1921, 1081), (1081, 3000)])
def test_a_picture_beyond_its_target_is_refused(width, height):
    with pytest.raises(ArgumentInvalid, match=r"1080p .*1081 already; .*upscale_mode") as refused:
        target("1080p", width, height)

    assert refused.value.field == "target_resolution"


@pytest.mark.parametrize(("size", "worked_on"), [((8, 8), (16, 16)), ((1, 4000), (16, 8000))])
def test_a_picture_is_worked_on_in_whole_tokens(size, worked_on):
    assert make_request().working_size(Size(*size)) == worked_on
