from typing import Any

import pytest

from models.errors import ArgumentInvalid, UnknownEndpoint
from scheduler.arguments import checked, parameters

ENDPOINT = "enlarger/lanczos"


def test_arguments_come_back_with_every_default_filled_in() -> None:
    assert checked(ENDPOINT, {}) == {"scale": 2.0, "output_format": "png"}
    assert checked(ENDPOINT, {"scale": 3}) == {"scale": 3.0, "output_format": "png"}


def test_what_was_checked_once_is_not_shared() -> None:
    checked(ENDPOINT, {"scale": 5})["scale"] = 99

    assert checked(ENDPOINT, {"scale": 5})["scale"] == 5.0


@pytest.mark.parametrize(
    ("arguments", "field", "words"),
    [
        ({"scale": 99}, "scale", "99 is not allowed; it must be a number from 0.1 to 16"),
        ({"scale": "big"}, "scale", "a number from 0.1 to 16"),
        ({"scale": None}, "scale", "null is not allowed"),
        ({"scale": True}, "scale", "true is not allowed"),
        ({"scale": float("nan")}, "scale", "NaN is not allowed"),
        ({"scale": float("inf")}, "scale", "Infinity is not allowed"),
        ({"scale": [2]}, "scale", "[2] is not allowed"),
        ({"output_format": "gif"}, "output_format", "one of png, jpg, webp"),
        ({"scael": 2}, "scael", "did you mean scale?"),
        ({"prompt": "trees"}, "prompt", "it has scale, output_format"),
        ({"image_url": "s3://a/b"}, "image_url", "the row's source is the image"),
        ({"scale": {1, 2}}, "arguments", "JSON"),
    ],
)
def test_a_bad_argument_is_named_with_its_value_and_what_is_allowed(
    arguments: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(ArgumentInvalid, match="^" + field) as caught:
        checked(ENDPOINT, arguments)

    assert caught.value.field == field
    assert words in str(caught.value)


def test_a_huge_value_is_shown_in_part() -> None:
    with pytest.raises(ArgumentInvalid) as caught:
        checked(ENDPOINT, {"scale": "x" * 100_000})

    assert len(str(caught.value)) < 300


def test_an_unknown_endpoint_is_told_those_there_are() -> None:
    with pytest.raises(UnknownEndpoint, match="enlarger/lanczos"):
        checked("enlarger/nothing", {})


def test_parameters_say_in_words_what_the_schema_says() -> None:
    scale, output_format = parameters(ENDPOINT)

    assert (scale.name, scale.allowed, scale.default) == ("scale", "a number from 0.1 to 16", 2.0)
    assert (output_format.allowed, output_format.required) == ("one of png, jpg, webp", False)
    assert scale.description
