"""The endpoint's own rules around the core: sizes, depths, memory, stopping."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.ccsr.options import CcsrOptions
from models.ccsr.pipeline import CcsrUpscaler
from models.ccsr.restorer import Restorer
from models.ccsr.schema import CcsrRequest, TileDiffusion
from models.diffusion.autoencoder import Autoencoder
from models.errors import Cancelled, NotFinite, OutOfDeviceMemory
from models.schema import Size
from models.tiling import pooled
from tests.models.ccsr.tiny import make_recipe, make_restorer, make_source
from tests.models.contexts import make_context
from tests.pictures import make_grey, make_picture

TILED = {"tile_diffusion": "gaussian", "tile_diffusion_size": 64, "tile_diffusion_stride": 64}


def make_upscaler(dtype=torch.float32) -> CcsrUpscaler:
    return CcsrUpscaler(make_restorer(dtype), CcsrOptions())


def make_upstreams() -> CcsrUpscaler:
    """Return an upscaler as it is loaded for upstream's results."""
    restorer = make_restorer()
    tiled = Autoencoder(vae=restorer.autoencoder.vae, decoding=pooled.run)
    return CcsrUpscaler(replace(restorer, autoencoder=tiled), CcsrOptions(tiled_vae="upstream"))


def make_request(**fields) -> CcsrRequest:
    return CcsrRequest(image_url="picture.png", **{"steps": 10} | TILED | fields)


def enlarge(picture, *, upscaler=None, seed=1, divisor=1, **fields) -> np.ndarray:
    """Return the pixels of the result."""
    context = make_context(seed=seed, tile_divisor=divisor)
    upscaler = upscaler or make_upscaler()
    (pixels,) = upscaler.upscale(picture, make_request(**fields), context).images
    return pixels


@pytest.mark.parametrize("size", [(37, 23), (1, 1), (1, 5)], ids=str)
@pytest.mark.parametrize("scale", [1, 2.7])
def test_the_result_has_the_promised_size(size, scale):
    promised = make_request(scale=scale).output_size(Size(*size))

    pixels = enlarge(make_picture(*size), scale=scale)

    assert pixels.shape == (promised.height, promised.width, 3)
    assert pixels.dtype == np.uint8


def test_a_picture_is_restored_as_a_whole_by_default():
    pixels = enlarge(make_picture(24, 16), tile_diffusion="none", t_max=0.7, t_min=0.6)

    assert pixels.shape == (32, 48, 3)


def test_16_bits_are_worked_on_as_8_and_read_only_views_as_what_they_show():
    deep = make_picture(24, 16, bits=16)
    shallow = replace(deep, pixels=((deep.pixels.astype(np.uint32) + 128) // 257).astype(np.uint8))
    turned = shallow.pixels[::-1, ::-1].copy()
    turned.flags.writeable = False

    expected = enlarge(shallow)

    assert np.array_equal(enlarge(deep), expected)
    assert np.array_equal(enlarge(replace(shallow, pixels=turned[::-1, ::-1])), expected)


def test_grey_pictures_pass_in_three_channels():
    assert enlarge(make_grey(24, 16)).shape == (32, 48, 3)


def test_the_same_seed_gives_the_same_pixels_and_another_does_not():
    picture = make_picture(24, 16)
    before = picture.pixels.copy()

    first, second, other = (enlarge(picture, seed=seed) for seed in (5, 5, 6))

    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)
    assert np.array_equal(picture.pixels, before)


@pytest.mark.parametrize("mode", ["mix", "gaussian"])
def test_less_memory_shows_in_no_more_than_rounding_while_the_tiles_stay(mode):
    picture = make_picture(100, 70)
    fields = {"tile_diffusion": mode, "tile_vae": True, "tile_vae_decoder_size": 16}

    halved = enlarge(picture, divisor=8, **fields).astype(int)

    assert np.abs(halved - enlarge(picture, **fields)).max() <= 1


def test_half_precision_makes_about_the_same_picture():
    picture = make_picture(48, 32)

    half = enlarge(picture, upscaler=make_upscaler(torch.bfloat16)).astype(int)

    assert np.abs(half - enlarge(picture)).mean() < 8  # of 255


def test_upstreams_tiles_show_and_ours_do_not():
    picture = make_picture(200, 40)
    small = {"tile_vae": True, "tile_vae_decoder_size": 16, "color_fix_type": "none"}

    plain = enlarge(picture, color_fix_type="none").astype(int)
    seamless = enlarge(picture, **small)
    upstream = enlarge(picture, upscaler=make_upstreams(), **small)

    assert np.abs(seamless - plain).max() <= 1
    assert np.abs(upstream - plain).max() > 2


def test_progress_rises_to_1_through_all_stages():
    seen: list[tuple[float, str]] = []
    context = make_context(progress=lambda done, stage: seen.append((done, stage)))

    make_upscaler().upscale(make_picture(60, 40), make_request(), context)

    assert seen == sorted(seen, key=lambda each: each[0])
    assert seen[-1] == (1.0, "decoding")
    assert list(dict.fromkeys(stage for _, stage in seen)) == ["encoding", "denoising", "decoding"]
    assert len([stage for _, stage in seen if stage == "denoising"]) == 5  # calls of the networks


def test_cancellation_unwinds_wherever_it_is_noticed():
    upscaler, picture, request = make_upscaler(), make_picture(24, 16), make_request()
    asked: list[None] = []
    upscaler.upscale(picture, request, make_context(check_cancelled=lambda: asked.append(None)))

    assert len(asked) > 50  # before calls of the networks, and between layers of the autoencoder
    for last in range(1, len(asked), 25):
        with pytest.raises(Cancelled):
            upscaler.upscale(picture, request, make_context(check_cancelled=after(last)))


def after(count: int):
    """Return what cancels at the given question."""
    questions = iter(range(1, count))

    def check() -> None:
        if next(questions, None) is None:
            raise Cancelled

    return check


def test_a_network_that_failed_is_no_picture():
    restorer = make_restorer()
    broken = Restorer(
        controlled=restorer.controlled,
        autoencoder=restorer.autoencoder,
        prompt=restorer.prompt * torch.nan,
    )

    with pytest.raises(NotFinite):
        enlarge(make_picture(24, 16), upscaler=CcsrUpscaler(broken, CcsrOptions()))


@pytest.fixture
def crowded():
    """Return an upscaler whose networks find no room on the device; only that is pretended."""

    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError

    upscaler = make_upscaler()
    hook = upscaler.restorer.controlled.register_forward_pre_hook(refuse)
    yield upscaler
    hook.remove()


@pytest.mark.parametrize(
    ("mode", "divisor", "error", "message"),
    [
        (TileDiffusion.NONE, 1, torch.OutOfMemoryError, None),  # the engine may still make room
        (TileDiffusion.NONE, 2, OutOfDeviceMemory, "set tile_diffusion to gaussian or mix"),
        (TileDiffusion.MIX, 8, torch.OutOfMemoryError, None),  # nor is the engine at its end
    ],
)
def test_a_whole_that_finds_no_room_is_told_of_tiles_once_the_device_is_empty(
    crowded, mode, divisor, error, message
):
    recipe, context = make_recipe(tile_diffusion=mode), make_context(tile_divisor=divisor)

    with torch.inference_mode(), pytest.raises(error, match=message):
        crowded.restore(make_source(64, 64), recipe, context)
