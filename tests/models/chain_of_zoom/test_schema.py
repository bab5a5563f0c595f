from math import nan

import pytest
from pydantic import ValidationError

from models.chain_of_zoom.frames import windows
from models.chain_of_zoom.schema import ChainOfZoomRequest
from models.errors import ArgumentInvalid
from models.schema import Size


def request(**arguments) -> ChainOfZoomRequest:
    return ChainOfZoomRequest(image_url="picture.png", **arguments)


@pytest.mark.parametrize(
    ("scale", "steps"), [(0.5, 1), (1, 1), (2.4, 2), (4.5, 5), (8.49, 8)], ids=str
)
def test_the_scale_is_rounded_to_steps_that_double(scale, steps):
    made = request(scale=scale)

    assert (made.steps, made.zoom) == (steps, 2.0**steps)


@pytest.mark.parametrize(
    ("arguments", "field", "reason"),
    [
        ({"scale": 0.49}, "scale", "0.49 is rounded to 0 steps; give 1 to 8"),
        ({"scale": 8.5}, "scale", "rounded to 9 steps"),
        ({"scale": nan}, "scale", "finite"),
        ({"center_x": 1.01}, "center_x", "less than or equal to 1"),
        ({"center_y": -0.01}, "center_y", "greater than or equal to 0"),
        ({"user_prompt": "a" * 501}, "user_prompt", "at most 500"),
        ({"seed": -1}, "seed", "greater than or equal to 0"),
        ({"zoom": 2}, "zoom", "not permitted"),
    ],
    ids=str,
)
def test_an_error_names_its_field(arguments, field, reason):
    with pytest.raises(ValidationError, match=reason) as caught:
        request(**arguments)

    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


@pytest.mark.parametrize(
    ("size", "frame", "padded"),
    [
        ((512, 512), (512, 512), (512, 512)),
        ((800, 600), (800, 600), (800, 608)),
        ((100, 50), (1024, 512), (1024, 512)),
        ((4000, 3000), (1365, 1024), (1376, 1024)),
        ((6000, 1000), (2048, 341), (2048, 352)),
        ((1, 1), (512, 512), (512, 512)),
        ((1, 1000), (16, 2048), (16, 2048)),
    ],
    ids=str,
)
def test_frames_keep_the_picture_s_shape_within_bounds(size, frame, padded):
    made = request()

    assert made.frame_size(Size(*size)) == frame
    assert made.working_size(Size(*size)) == padded
    assert made.output_size(Size(*size)) == size


def test_more_pixels_than_fit_into_memory_are_refused():
    with pytest.raises(
        ArgumentInvalid, match="8 pictures of 10000x6000 have 480,000,000"
    ) as caught:
        request(scale=8).output_size(Size(10_000, 6_000))

    assert caught.value.field == "scale"
    assert request(scale=6).output_size(Size(10_000, 6_000)) == (10_000, 6_000)


@pytest.mark.parametrize("centre", [(0.5, 0.5), (0.0, 1.0), (0.7, 0.31)], ids=str)
def test_windows_nest_in_the_source_around_the_point(centre):
    source, steps = Size(3000, 2001), 8
    found = [each.view for each in windows(source, Size(1535, 1024), centre, steps)]

    assert len(found) == steps
    before = (0, 0, *source)
    for number, view in enumerate(found, start=1):
        left, top, right, bottom = view
        assert before[0] <= left <= centre[0] * source.width <= right <= before[2] + 1e-6
        assert before[1] <= top <= centre[1] * source.height <= bottom <= before[3] + 1e-6
        assert right - left == pytest.approx(source.width / 2**number, rel=0.01)
        before = view
