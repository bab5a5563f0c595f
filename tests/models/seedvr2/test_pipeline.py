"""The endpoint's own rules around the core: sizes, depths, colours, limits, stopping."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.errors import Cancelled, NotFinite
from models.schema import Size
from models.seedvr2.pipeline import SeedVr2Upscaler
from models.seedvr2.restorer import Restorer
from models.seedvr2.schema import SeedVr2Request
from tests.models.contexts import make_context
from tests.models.seedvr2.tiny import TINY_3B, TINY_7B, make_restorer
from tests.pictures import make_grey, make_picture


def make_upscaler(config=TINY_3B, dtype=torch.float32) -> SeedVr2Upscaler:
    return SeedVr2Upscaler(make_restorer(config, dtype))


def make_request(**fields) -> SeedVr2Request:
    return SeedVr2Request(image_url="picture.png", **fields)


def enlarge(picture, *, upscaler=None, seed=1, divisor=1, **fields) -> np.ndarray:
    """Return the pixels of the result."""
    upscaler = upscaler or make_upscaler()
    context = make_context(seed=seed, tile_divisor=divisor)
    (pixels,) = upscaler.upscale(picture, make_request(**fields), context).images
    return pixels


@pytest.mark.parametrize("size", [(37, 23), (1, 1), (1, 50), (50, 1), (64, 48), (3, 150)], ids=str)
@pytest.mark.parametrize(
    "fields",
    [{}, {"upscale_factor": 1}, {"upscale_factor": 2.7}],
    ids=["default", "same size", "fraction"],
)
def test_the_result_has_the_promised_size(size, fields):
    promised = make_request(**fields).output_size(Size(*size))

    pixels = enlarge(make_picture(*size), **fields)

    assert pixels.shape == (promised.height, promised.width, 3)
    assert pixels.dtype == np.uint8


def test_a_tall_picture_gets_the_target_as_its_width():
    pixels = enlarge(make_picture(30, 40), upscale_mode="target", target_resolution="720p")

    assert pixels.shape == (960, 720, 3)


def test_16_bits_are_worked_on_as_8():
    deep = make_picture(24, 16, bits=16)
    shallow = replace(deep, pixels=((deep.pixels.astype(np.uint32) + 128) // 257).astype(np.uint8))

    assert np.array_equal(enlarge(deep), enlarge(shallow))


def test_decoded_pixels_may_be_read_only_and_turned():
    picture = make_picture(24, 16)
    turned = picture.pixels[::-1, ::-1].copy()
    turned.flags.writeable = False

    view = replace(picture, pixels=turned[::-1, ::-1])

    assert np.array_equal(enlarge(view), enlarge(picture))


def test_grey_pictures_pass_in_three_channels():
    assert enlarge(make_grey(24, 16)).shape == (32, 48, 3)


@pytest.mark.parametrize("config", [TINY_3B, TINY_7B], ids=["3b", "7b"])
def test_the_same_seed_gives_the_same_pixels_and_another_does_not(config):
    upscaler, picture = make_upscaler(config), make_picture(24, 16)
    before = picture.pixels.copy()

    first, second, other = (enlarge(picture, upscaler=upscaler, seed=seed) for seed in (5, 5, 6))

    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert np.array_equal(picture.pixels, before)


@pytest.mark.parametrize("divisor", [1, 2, 8])
def test_smaller_tiles_change_no_more_than_rounding(divisor):
    picture = make_picture(150, 100)

    pixels = enlarge(picture, tile_size=128, divisor=divisor).astype(int)

    assert np.abs(pixels - enlarge(picture, tile_size=8192).astype(int)).max() <= 1


def test_each_way_to_keep_colours_gives_another_picture():
    picture = make_picture(48, 32)

    results = [enlarge(picture, color_fix=fix) for fix in ("wavelet", "lab", "none")]

    assert not np.array_equal(results[0], results[1])
    assert not np.array_equal(results[0], results[2])
    # A random network knows nothing of colours; the source's mean comes from the fix.
    mean = picture.pixels.mean((0, 1))
    assert (
        np.abs(results[0].mean((0, 1)) - mean).max() < np.abs(results[2].mean((0, 1)) - mean).max()
    )


def test_more_noise_gives_another_picture():
    picture = make_picture(24, 16)

    assert not np.array_equal(enlarge(picture, noise_scale=0), enlarge(picture, noise_scale=0.5))


def test_half_precision_makes_about_the_same_picture():
    picture = make_picture(48, 32)

    half = enlarge(picture, upscaler=make_upscaler(dtype=torch.bfloat16)).astype(int)

    assert np.abs(half - enlarge(picture)).mean() < 8  # of 255


def test_progress_rises_to_1_through_all_stages():
    seen: list[tuple[float, str]] = []
    context = make_context(progress=lambda done, stage: seen.append((done, stage)))

    make_upscaler().upscale(make_picture(24, 16), make_request(), context)

    assert seen == sorted(seen, key=lambda each: each[0])
    assert seen[-1] == (1.0, "decoding")
    assert list(dict.fromkeys(stage for _, stage in seen)) == ["encoding", "denoising", "decoding"]


def test_cancellation_unwinds_wherever_it_is_noticed():
    upscaler, picture, request = make_upscaler(), make_picture(24, 16), make_request()
    asked = count_questions(upscaler, picture, request)

    assert asked > 50  # between blocks, and between layers of the autoencoder
    for last in range(1, asked, 20):
        with pytest.raises(Cancelled):
            upscaler.upscale(picture, request, make_context(check_cancelled=after(last)))


def count_questions(upscaler, picture, request) -> int:
    """Return how often a job is asked whether it was cancelled."""
    asked: list[None] = []
    context = make_context(check_cancelled=lambda: asked.append(None))
    upscaler.upscale(picture, request, context)
    return len(asked)


def after(count: int):
    """Return what cancels at the given question."""
    questions = iter(range(1, count))

    def check() -> None:
        if next(questions, None) is None:
            raise Cancelled

    return check


def test_a_network_that_failed_is_no_picture():
    restorer = make_restorer(TINY_3B)
    broken = Restorer(vae=restorer.vae, dit=restorer.dit, prompt=restorer.prompt * torch.nan)

    with pytest.raises(NotFinite):
        enlarge(make_picture(24, 16), upscaler=SeedVr2Upscaler(broken), color_fix="none")
