"""Limits on sizes."""

import pytest

from models.canvas import check_encodable, check_limits
from models.errors import ImageTooLarge
from models.schema import OutputFormat, Size


def test_a_picture_at_its_limits_passes():
    check_limits(
        Size(10, 10), Size(20, 20), Size(20, 20), max_input_pixels=100, max_output_pixels=400
    )


def test_an_input_over_the_limit_is_refused_with_the_numbers_and_the_remedy():
    with pytest.raises(
        ImageTooLarge, match=r"11x10 has 110 pixels, the limit is 100; .*INPUT_PIXEL"
    ):
        check_limits(
            Size(11, 10), Size(2, 2), Size(2, 2), max_input_pixels=100, max_output_pixels=400
        )


def test_a_result_over_the_limit_is_refused_with_the_numbers_and_the_remedy():
    with pytest.raises(
        ImageTooLarge, match=r"10x10 would become 2000x20, 40,000 pixels, the limit is 400; choose"
    ):
        check_limits(
            Size(10, 10),
            Size(2000, 20),
            Size(2000, 20),
            max_input_pixels=100,
            max_output_pixels=400,
        )


@pytest.mark.parametrize(
    ("output_format", "side"), [(OutputFormat.WEBP, 16_383), (OutputFormat.JPG, 65_500)]
)
def test_a_side_longer_than_the_format_allows_is_refused(output_format, side):
    check_encodable(Size(1, side), output_format)

    with pytest.raises(ImageTooLarge, match="set output_format to png"):
        check_encodable(Size(side + 1, 1), output_format)


def test_what_is_worked_on_has_the_limit_of_the_result():
    with pytest.raises(
        ImageTooLarge,
        match=r"1x10 would be worked on at 16x32, 512 pixels, the limit is 511; choose",
    ):
        check_limits(
            Size(1, 10), Size(2, 20), Size(16, 32), max_input_pixels=100, max_output_pixels=511
        )
