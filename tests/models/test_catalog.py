"""The catalogue and the errors: what the rest of the house finds endpoints and outcomes by."""

import subprocess
import sys
from importlib import import_module

import pytest

from models import errors
from models.catalog import DEFAULT_ENDPOINT, ENDPOINTS, find, load
from models.errors import EnlargerError, Kind, UnknownEndpoint
from models.schema import file_fields

every_endpoint = pytest.mark.parametrize("endpoint", ENDPOINTS.values(), ids=lambda row: row.id)
CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, EnlargerError)
]


def test_an_unknown_endpoint_is_refused_with_those_there_are():
    with pytest.raises(
        UnknownEndpoint, match=r"'enlarger/lancsoz' is unknown.*enlarger/lanczos"
    ) as e:
        find("enlarger/lancsoz")

    assert (e.value.kind, e.value.field, e.value.code) == (
        Kind.REQUEST,
        "endpoint",
        "unknown_endpoint",
    )


def test_the_default_endpoint_is_in_the_catalogue_and_needs_no_weights():
    assert not find(DEFAULT_ENDPOINT).weights


@every_endpoint
def test_a_schema_loads_without_torch_and_names_its_image(endpoint):
    program = (
        "import sys; from models.catalog import find;"
        f"find({endpoint.id!r}).request_class();"
        "sys.exit(bool({'torch', 'diffusers', 'transformers'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
    assert "image_url" in file_fields(endpoint.request_class())


@every_endpoint
def test_a_pipeline_is_where_the_catalogue_says(endpoint):
    pipeline = load(endpoint.pipeline)

    assert callable(pipeline.load)
    assert callable(pipeline.upscale)
    assert import_module(endpoint.pipeline.partition(":")[0]).__doc__


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: error.__name__)
def test_every_error_has_one_kind(error):
    assert error.kind in Kind


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (errors.ImageUnreadable("reason"), "image_unreadable", Kind.REQUEST),
        (errors.ImageTooSmall(1, 2, least=8), "image_too_small", Kind.REQUEST),
        (errors.OutOfDeviceMemory("reason"), "out_of_device_memory", Kind.WORLD),
        (errors.NotFinite("reason"), "not_finite", Kind.PROGRAM),
    ],
    ids=lambda value: str(value),
)
def test_an_errors_code_is_its_name_in_snake_case(error, code, kind):
    assert (error.code, error.kind) == (code, kind)


def test_who_takes_pictures_of_several_jobs_has_a_batch_form():
    for endpoint in ENDPOINTS.values():
        assert (endpoint.batch_pixels > 0) == hasattr(load(endpoint.pipeline), "upscale_together")
