"""What holds for every endpoint of the catalogue, those to come included."""

from pathlib import Path

import numpy as np
import pytest

from models.catalog import ENDPOINTS
from models.chain_of_zoom import schema as chain_of_zoom
from models.errors import Cancelled
from models.schema import Size
from tests.models.contexts import (
    lender,
    load_upscaler,
    make_context,
    make_request,
    shared_upscaler,
)
from tests.pictures import make_picture

every_upscaler = pytest.mark.parametrize(
    "endpoint", ENDPOINTS.values(), ids=lambda endpoint: endpoint.id
)


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Where small random weights are written, once for all tests."""
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(autouse=True)
def _small_frames(monkeypatch) -> None:
    """Have Chain-of-Zoom work on frames of 64 pixels: what holds for 512 holds for them."""
    monkeypatch.setattr(chain_of_zoom, "LEAST_SIDE", 64)


@every_upscaler
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("size", [(37, 23), (1, 1), (1, 19), (64, 65)], ids=str)
def test_the_result_has_the_promised_size(endpoint, size, bits, folder):
    request = make_request(endpoint)
    promised = request.output_size(Size(*size))

    result = shared_upscaler(endpoint.id, folder).upscale(
        make_picture(*size, bits=bits), request, make_context(borrow=lender(folder))
    )

    assert [image.shape for image in result.images] == [(promised.height, promised.width, 3)]
    assert all(image.dtype in (np.uint8, np.uint16) for image in result.images)


@every_upscaler
def test_the_same_seed_gives_the_same_pixels(endpoint, folder):
    request = make_request(endpoint)
    picture = make_picture(33, 21)
    before = picture.pixels.copy()

    first, second = (
        load_upscaler(endpoint.id, folder).upscale(
            picture, request, make_context(seed=7, borrow=lender(folder))
        )
        for _ in range(2)
    )

    fields = endpoint.result_class().model_fields.items()
    always = {name for name, field in fields if field.is_required()}
    assert {"seed", *first.body} == always - {"image", "images"}
    assert first.seed == second.seed
    assert all(map(np.array_equal, first.images, second.images))
    assert np.array_equal(picture.pixels, before)


@every_upscaler
@pytest.mark.parametrize("bits", [8, 16])
def test_progress_rises_to_1_and_cancellation_unwinds(endpoint, bits, folder):
    upscaler = shared_upscaler(endpoint.id, folder)
    request = make_request(endpoint)
    picture = make_picture(33, 21, bits=bits)
    seen: list[float] = []

    def cancel() -> None:
        raise Cancelled

    lent = {"borrow": lender(folder)}
    context = make_context(progress=lambda done, stage: seen.append(done), **lent)
    upscaler.upscale(picture, request, context)
    with pytest.raises(Cancelled):
        upscaler.upscale(picture, request, make_context(check_cancelled=cancel, **lent))

    assert seen == sorted(seen)
    assert seen[-1] == 1.0
