import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from models.ccsr.recipe import PIXELS_AT_ONCE, plan
from models.ccsr.schema import CcsrRequest
from models.schema import OutputFormat, Size

PUBLISHED = {
    "scale": 2.0,
    "tile_diffusion": "none",
    "tile_diffusion_size": 1024,
    "tile_diffusion_stride": 512,
    "tile_vae": False,
    "tile_vae_decoder_size": 226,
    "tile_vae_encoder_size": 1024,
    "steps": 50,
    "t_max": 0.6667,
    "t_min": 0.3333,
    "color_fix_type": "adain",
    "seed": None,
}
OURS = {"output_format": "png"}


def make_request(**fields) -> CcsrRequest:
    return CcsrRequest(image_url="picture.png", **fields)


def test_fields_and_defaults_are_the_published_ones_and_ours():
    fields = make_request().model_dump(mode="json", exclude={"image_url"})

    assert fields == PUBLISHED | OURS
    assert make_request().encoding() is OutputFormat.PNG


def test_every_field_and_its_default_is_in_the_document():
    page = (Path(__file__).parents[3] / "docs" / "ccsr.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", page, re.MULTILINE))

    assert rows.pop("image_url") == "required"
    assert rows.pop("seed") == "drawn at submission"
    written = {
        name: str(value).removesuffix(".0").replace("False", "false")
        for name, value in (PUBLISHED | OURS).items()
        if name != "seed"
    }
    assert {name: rows[name].strip("`") for name in written} == written


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("scale", [1, 4, 1.1]),
        ("tile_diffusion", ["none", "mix", "gaussian"]),
        ("tile_diffusion_size", [512, 8192]),
        ("tile_diffusion_stride", [8, 1024]),
        ("tile_vae", [True]),
        ("tile_vae_decoder_size", [16, 1024]),
        ("tile_vae_encoder_size", [128, 8192]),
        ("steps", [10, 100]),
        ("t_max", [0.36, 1]),
        ("t_min", [0, 0.01, 0.64]),
        ("color_fix_type", ["none", "wavelet", "adain"]),
        ("seed", [0, 2**63 - 1, None]),
        ("output_format", ["png", "jpg", "webp"]),
    ],
)
def test_the_ends_of_every_range_are_taken(field, values):
    for value in values:
        make_request(**{field: value})


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("scale", [0, 0.99, 4.1, float("nan"), float("inf")]),
        ("tile_diffusion", ["tiled"]),
        ("tile_diffusion_size", [0, 32, 1000, 8256]),
        ("tile_diffusion_stride", [0, 4, 500, 1032, -8]),
        ("tile_vae", ["maybe"]),
        ("tile_vae_decoder_size", [0, 15, 1025, 22.6]),
        ("tile_vae_encoder_size", [0, 96, 1000, 8224]),
        ("steps", [9, 101, 49.5]),
        ("t_max", [-0.1, 1.1, float("nan")]),
        ("t_min", [-0.1, 1.1, 0.6667, 0.9]),
        ("color_fix_type", ["lab"]),
        ("seed", [-1, 2**63]),
        ("output_format", ["gif"]),
    ],
)
def test_what_is_out_of_range_is_refused_by_its_field(field, values):
    for value in values:
        with pytest.raises(ValidationError) as refused:
            make_request(**{field: value})
        assert [error["loc"] for error in refused.value.errors()] == [(field,)]


@pytest.mark.parametrize(
    ("fields", "field", "message"),
    [
        ({"tile_diffusion_size": 256}, "tile_diffusion_stride", "gaps between tiles of 256 .*256"),
        ({"t_max": 0.3}, "t_min", "no step of 50 lies between 0.3333 and the t_max of 0.3"),
        ({"steps": 10, "t_min": 0.66}, "t_min", "no step of 10 lies between 0.66 and .*more steps"),
    ],
)
def test_fields_that_do_not_go_together_are_refused_with_what_helps(fields, field, message):
    with pytest.raises(ValidationError, match=message) as refused:
        make_request(**fields)

    assert [error["loc"] for error in refused.value.errors()] == [(field,)]


@pytest.mark.parametrize(
    ("scale", "size", "result"),
    [(2, (33, 21), (66, 42)), (1.1, (100, 50), (111, 56)), (1, (7, 9), (7, 9))],
)
def test_sides_are_rounded_up_as_upstream_does(scale, size, result):
    assert make_request(scale=scale).output_size(Size(*size)) == result


@pytest.mark.parametrize(
    ("fields", "size", "worked_on"),
    [
        ({}, (256, 300), (512, 576)),
        ({}, (600, 500), (1152, 960)),
        ({}, (20, 1000), (512, 25600)),  # narrow pictures are where limits matter
        ({"tile_diffusion": "mix"}, (256, 256), (1024, 1024)),
        ({"tile_diffusion": "gaussian", "tile_diffusion_size": 512}, (256, 300), (512, 576)),
        ({"tile_diffusion_size": 2048}, (256, 256), (512, 512)),  # no tiles, no such size
        ({"scale": 1}, (513, 519), (512, 512)),
        ({}, (1, 1), (512, 512)),
    ],
)
def test_a_picture_is_worked_on_at_the_least_size_or_more_in_multiples(fields, size, worked_on):
    assert make_request(**fields).working_size(Size(*size)) == worked_on


def test_memory_is_saved_by_smaller_batches_before_smaller_tiles():
    request = make_request(tile_diffusion="gaussian", tile_diffusion_size=512)
    planned = [plan(request, longest_side=4096, divisor=divisor) for divisor in (1, 2, 8, 16)]

    assert [recipe.tiles_at_once for recipe in planned] == [8, 4, 1, 1]
    assert [recipe.tile_size for recipe in planned] == [512, 512, 512, 320]
    assert [recipe.tile_stride for recipe in planned] == [512, 512, 512, 320]
    assert all(recipe.tiles_at_once * recipe.tile_size**2 <= PIXELS_AT_ONCE for recipe in planned)


def test_a_tile_larger_than_a_batch_is_taken_as_it_is_asked_for():
    request = make_request(tile_diffusion="mix", tile_diffusion_size=2048)

    whole, halved = (plan(request, longest_side=4096, divisor=divisor) for divisor in (1, 2))

    assert (whole.tile_size, whole.tile_stride, whole.tiles_at_once) == (2048, 512, 1)
    assert (halved.tile_size, halved.tile_stride) == (1408, 352)


def test_the_autoencoders_tiles_are_as_asked_for_and_halved_with_the_rest():
    asked = make_request(tile_vae=True, tile_vae_decoder_size=64, tile_vae_encoder_size=256)

    plain = plan(make_request(), longest_side=2048)
    tiled = plan(asked, longest_side=2048)
    halved = plan(asked, longest_side=2048, divisor=8)
    upstream = plan(asked, longest_side=2048, tiled_encoder=False)

    assert (plain.encoder_tile, plain.decoder_tile) == (2048, 2048)
    assert (tiled.encoder_tile, tiled.decoder_tile) == (256, 512)
    assert (halved.encoder_tile, halved.decoder_tile) == (64, 64)
    assert (upstream.encoder_tile, upstream.decoder_tile) == (2048, 512)
