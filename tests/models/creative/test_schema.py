import pytest
from pydantic import ValidationError

from models.catalog import find
from models.creative.recipe import restoration
from models.creative.schema import CreativeRequest
from models.errors import RequestError
from models.schema import Size


def request(**arguments) -> CreativeRequest:
    return CreativeRequest(image_url="x", **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"model_type": "SD_2"},
        {"scale": 5.1},
        {"creativity": -0.1},
        {"detail": 5.1},
        {"shape_preservation": 3.1},
        {"guidance_scale": 16.1},
        {"num_inference_steps": 0},
        {"seed": 2**32},
        {"additional_lora_scale": 2.1},
        {"base_model_url": ""},
    ],
)
def test_what_is_out_of_range_is_refused(arguments):
    with pytest.raises(ValidationError, match=next(iter(arguments))):
        request(**arguments)


@pytest.mark.parametrize(
    ("size", "arguments", "field", "reason"),
    [
        ((15, 100), {}, "image_url", "at least 16 pixels"),
        ((1700, 100), {}, "image_url", "at most 16 times"),
        ((2049, 1000), {}, "image_url", "set override_size_limits to true"),
        ((2049, 1000), {"override_size_limits": True}, None, ""),
        ((2048, 2048), {}, None, ""),
        ((2048, 2048), {"scale": 2.01}, "scale", "16,777,216 .*set override_size_limits"),
        ((2048, 2048), {"scale": 4, "override_size_limits": True}, None, ""),
        ((2048, 2048), {"scale": 5, "override_size_limits": True}, "scale", "100,000,000"),
        ((4100, 1000), {"scale": 4, "override_size_limits": True}, "scale", "16,384"),
    ],
)
def test_sizes_beyond_the_limits_are_refused_by_field_and_remedy(size, arguments, field, reason):
    asked = request(**arguments)
    if field is None:
        asked.check_size(Size(*size))
        return

    with pytest.raises(RequestError, match=rf"^{field}: .*{reason}") as caught:
        asked.check_size(Size(*size))

    assert caught.value.field == field


def test_what_ccsr_works_on_counts_for_limits():
    """A narrow picture is grown until its shorter side is what CCSR needs."""
    size = Size(700, 50)

    assert request(skip_ccsr=True).working_size(size) == (1400, 104)
    assert request().working_size(size) == (7168, 512)


def test_a_large_picture_is_restored_in_tiles():
    small, large = restoration(Size(1448, 1448)), restoration(Size(1449, 1449))

    assert (small.tile_diffusion, large.tile_diffusion) == ("none", "gaussian")
    assert small.output_size(Size(999, 651)) == (999, 651)


@pytest.mark.parametrize(
    ("arguments", "variant"), [({}, "SD_1_5"), ({"model_type": "SDXL"}, "SDXL")]
)
def test_the_model_type_chooses_the_pipeline(arguments, variant):
    endpoint = find("fal-ai/creative-upscaler")

    chosen = endpoint.pipeline_for(request(**arguments).model_dump(mode="json"))

    assert chosen == f"fal-ai/creative-upscaler#{variant}"
