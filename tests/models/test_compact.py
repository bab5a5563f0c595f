"""The built-in network as an endpoint: any factor and size, by tiles, alone and in company."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from models.compact.pipeline import CHAINS, CompactUpscaler
from models.compact.schema import CompactRequest, Variant
from models.errors import Cancelled, NotFinite
from models.image import Picture, reassemble
from models.options import NoOptions
from models.schema import OutputFormat, Size
from models.upscaler import Work
from tests.models.contexts import make_context
from tests.models.untrained import Untrained, make_network
from tests.pictures import make_alpha, make_grey, make_picture, make_pixels

UPSCALER = Untrained.load(None, options=NoOptions(), device="cpu", dtype="float32")


def make_request(**fields) -> CompactRequest:
    return CompactRequest(image_url="picture.png", **fields)


def enlarge(picture: Picture, *, tile_divisor: int = 1, **fields):
    context = make_context(tile_divisor=tile_divisor)
    return UPSCALER.upscale(picture, make_request(**fields), context).images[0]


def make_muted(width: int, height: int) -> Picture:
    """Return a picture of 16 bits whose enlargements need no clipping."""
    return Picture(pixels=make_pixels(width, height, bits=16) // 2 + 16384)


def farthest(one, other) -> float:
    """Return the largest difference, in parts of 1."""
    assert one.dtype == other.dtype
    assert one.shape == other.shape
    return float(np.abs(one.astype(float) - other).max()) / np.iinfo(one.dtype).max


@pytest.mark.parametrize("scale", [1, 1.3, 2, 2.7, 4, 5.5, 8])
@pytest.mark.parametrize("bits", [8, 16])
def test_tiles_leave_no_seams(scale, bits):
    picture = make_picture(90, 71, bits=bits)

    whole = enlarge(picture, scale=scale)
    tiled = enlarge(picture, scale=scale, tile_divisor=8)  # cores of 16 pixels

    assert farthest(tiled, whole) <= (1 / 255 if bits == 8 else 1e-4)


@settings(max_examples=25, deadline=None)
@given(
    width=st.integers(1, 40),
    height=st.integers(1, 40),
    scale=st.floats(1, 8),
    divisor=st.sampled_from([1, 8]),
)
def test_any_size_and_factor_give_the_promised_size(width, height, scale, divisor):
    request = make_request(scale=scale)

    enlarged = enlarge(make_picture(width, height), scale=scale, tile_divisor=divisor)

    assert enlarged.shape[1::-1] == request.output_size(Size(width, height))


@pytest.mark.parametrize(
    ("scale", "reached"), [(1, 2), (1.01, 2), (2, 2), (2.01, 4), (4, 4), (4.5, 8), (8, 8)]
)
def test_the_shortest_chain_that_reaches_the_factor_is_resampled_down(scale, reached):
    picture = make_muted(24, 18)
    size = make_request(scale=scale).output_size(Size(24, 18))

    enlarged = enlarge(picture, scale=scale)

    chained = enlarge(picture, scale=reached)
    for channel in range(3):
        samples = Image.fromarray(chained[..., channel].astype(np.float32))
        expected = np.asarray(samples.resize(size, Image.Resampling.LANCZOS))
        assert np.abs(enlarged[..., channel] - expected).max() <= 2


def test_eight_times_is_one_network_after_the_other():
    picture = make_muted(30, 26)
    twice = Picture(pixels=enlarge(picture, scale=2))

    inner = (slice(80, -80), slice(80, -80))  # at the borders the chain sees what it made itself

    assert CHAINS[8] == (2, 4)
    assert farthest(enlarge(picture, scale=8)[inner], enlarge(twice, scale=4)[inner]) < 1e-3


def test_variants_have_weights_of_their_own():
    picture = make_picture()

    photo, clean = (enlarge(picture, variant=variant) for variant in ("photo", "clean"))

    assert np.array_equal(photo, enlarge(picture))
    assert not np.array_equal(photo, clean)


def test_16_bits_stay_16_and_agree_with_8():
    pixels = make_pixels(30, 20)

    shallow, deep = (
        enlarge(Picture(pixels=pixels)),
        enlarge(Picture(pixels=pixels * np.uint16(257))),
    )

    assert (shallow.dtype, deep.dtype) == (np.uint8, np.uint16)
    assert np.abs(deep / 257 - shallow).max() <= 0.51
    assert len(np.unique(deep)) > 256


def test_alpha_and_grey_come_back_by_the_shared_policy():
    picture = replace(make_grey(30, 20), alpha=make_alpha(30, 20))

    result = reassemble(picture, enlarge(picture, scale=3))

    assert result.alpha is not None
    assert result.alpha.shape == (60, 90)
    assert (result.pixels[..., :1] == result.pixels).all()


def test_a_flat_picture_is_flat_up_to_its_borders():
    network = make_network(2, seed=5)
    for layer in (network.head, network.tail, *network.body):
        torch.nn.init.zeros_(layer.bias)
        torch.nn.init.zeros_(layer.weight)
    upscaler = CompactUpscaler.of({(Variant.PHOTO, 2): network}, device="cpu")
    picture = Picture(pixels=np.full((5, 3, 3), 200, np.uint8))

    result = upscaler.upscale(picture, make_request(), make_context())

    assert (result.images[0] == 200).all()


def test_jobs_in_company_get_what_they_get_alone():
    kinds = product([(33, 40), (64, 34), (1, 1), (7, 50)], [1.7, 2, 8], ["photo", "clean"], [8, 16])
    work = [
        Work(
            make_picture(*size, bits=bits),
            make_request(scale=scale, variant=variant),
            make_context(seed=seed),
        )
        for seed, (size, scale, variant, bits) in enumerate(kinds)
    ]

    together = UPSCALER.upscale_together(work)

    assert [result.seed for result in together] == list(range(len(work)))
    for each, result in zip(work, together, strict=True):
        (alone,) = UPSCALER.upscale(*each).images
        assert farthest(result.images[0], alone) <= 1 / 255


def test_a_job_can_be_cancelled_between_tiles():
    asked = 0

    def cancel_at_the_third() -> None:
        nonlocal asked
        asked += 1
        if asked == 3:
            raise Cancelled

    done: list[float] = []
    context = make_context(
        tile_divisor=8,
        check_cancelled=cancel_at_the_third,
        progress=lambda fraction, stage: done.append(fraction),
    )

    with pytest.raises(Cancelled):
        UPSCALER.upscale(make_picture(64, 64), make_request(), context)

    assert done == [0, 1 / 16]


def test_a_network_that_gives_no_numbers_is_an_error():
    network = make_network(2, seed=5)
    torch.nn.init.constant_(network.tail.bias, torch.nan)
    upscaler = CompactUpscaler.of({(Variant.PHOTO, 2): network}, device="cpu")

    with pytest.raises(NotFinite):
        upscaler.upscale(make_picture(), make_request(), make_context())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("scale", value) for value in [0, 0.99, 8.01, -2, float("nan"), float("inf"), "two"]),
        *(("variant", value) for value in ["Photo", "", None, 2]),
        ("output_format", "gif"),
        ("tile_size", 256),
    ],
)
def test_a_wrong_value_is_refused_and_its_field_named(field, value):
    with pytest.raises(ValidationError) as caught:
        make_request(**{field: value})

    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_the_default_is_a_photograph_at_twice_the_size_as_png():
    request = make_request()

    assert (request.scale, request.variant) == (2.0, Variant.PHOTO)
    assert request.output_size(Size(3, 4)) == (6, 8)
    assert request.encoding() is OutputFormat.PNG


def test_every_field_is_described():
    properties = CompactRequest.model_json_schema()["properties"]

    assert all(field.get("description") for field in properties.values())
