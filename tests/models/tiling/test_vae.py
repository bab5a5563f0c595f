"""A tiled autoencoder gives what the untiled one gives."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from torch import Tensor, nn

from models.errors import Cancelled
from models.tiling.autoencoder import decoder_steps, encoder_steps
from models.tiling.moments import Moments, _by_channel, _by_group, pool
from models.tiling.steps import Add, Local, Norm, Push, Segment, Step, Whole, fuse
from models.tiling.vae import Floor, run
from tests.models.tiling.small_vae import GROUPS, LATENT, Decoder, Encoder, randomised

CPU = torch.device("cpu")


def floor(tile: int, tick=lambda: None) -> Floor:
    return Floor(device=CPU, rest=CPU, tile=tile, tick=tick)


def noise(*shape: int, seed: int = 0) -> Tensor:
    """A picture whose brightness differs from one side to the other, and between channels."""
    slope = torch.linspace(-2, 3, shape[-1]) + torch.linspace(0, 2, shape[-2])[:, None]
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + slope


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.fixture(scope="module")
def encoder() -> nn.Module:
    return randomised(Encoder(), seed=1)


@pytest.fixture(scope="module")
def decoder() -> nn.Module:
    return randomised(Decoder(), seed=2)


@settings(max_examples=12, deadline=None)
@given(height=some.integers(8, 90), width=some.integers(8, 90), tile=some.integers(5, 50))
@torch.inference_mode()
def test_tiles_encode_any_size_as_the_whole_does(encoder, height, width, tile):
    pixels = noise(1, 3, height, width)

    tiled = run(encoder_steps(encoder), pixels, floor(tile))

    assert relative(tiled, encoder(pixels)) < 1e-5


@pytest.mark.parametrize(
    ("height", "width", "tile"), [(1, 1, 9), (7, 5, 9), (3, 7, 50), (4, 4, 17), (2, 6, 300)]
)
@torch.inference_mode()
def test_tiles_decode_any_size_as_the_whole_does(decoder, height, width, tile):
    latent = noise(2, LATENT, height, width)

    tiled = run(decoder_steps(decoder), latent, floor(tile))

    assert relative(tiled, decoder(latent)) < 1e-5


@torch.inference_mode()
def test_channels_last_tiles_equal_the_whole_and_stay_channels_last(decoder):
    latent = noise(1, LATENT, 9, 7).to(memory_format=torch.channels_last)
    decoder = randomised(Decoder(), seed=2).to(memory_format=torch.channels_last)

    tiled = run(decoder_steps(decoder)[:-1], latent, floor(20))

    assert relative(run(decoder_steps(decoder), latent, floor(20)), decoder(latent)) < 1e-5
    assert tiled.is_contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def test_in_bfloat16_tiles_differ_from_the_whole_by_rounding_only(decoder):
    latent = noise(1, LATENT, 9, 7)
    half = randomised(Decoder(), seed=2).to(torch.bfloat16)

    tiled = run(decoder_steps(half), latent.to(torch.bfloat16), floor(20))

    assert tiled.dtype == torch.bfloat16
    assert relative(tiled.float(), decoder(latent)) < 0.05


@torch.inference_mode()
def test_the_picture_that_comes_in_is_left_as_it_is(decoder):
    steps: list[Step] = [Push(), Norm(norm=nn.GroupNorm(2, LATENT)), Add()]
    latent = noise(1, LATENT, 30, 30)
    before = latent.clone()

    run(steps, latent, floor(10))

    torch.testing.assert_close(latent, before, rtol=0, atol=0)


@torch.inference_mode()
def test_no_layer_sees_more_than_a_tile_and_its_reach(decoder):
    seen: list[int] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs: seen.append(max(inputs[0].shape[-2:])))
        for module in decoder.modules()
        if isinstance(module, nn.Conv2d)
    ]

    run(decoder_steps(decoder), noise(1, LATENT, 16, 16), floor(16))
    for hook in hooks:
        hook.remove()

    assert max(seen) <= 16 + 2 * 2, "an upsampler's convolution gets one more pixel, doubled"


def test_a_tick_between_tiles_may_stop_the_work(decoder):
    left = 40

    def tick() -> None:
        nonlocal left
        left -= 1
        if not left:
            raise Cancelled

    with torch.inference_mode(), pytest.raises(Cancelled):
        run(decoder_steps(decoder), noise(1, LATENT, 16, 16), floor(16, tick))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("kernel", [_by_channel, _by_group])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_statistics_are_those_of_the_whole_in_every_kernel_and_layout(kernel, layout, dtype):
    """Not so by squares' means: the mean is thirty times the deviation."""
    whole = (noise(2, 8, 130, 170) * 3 + 100).to(dtype).to(memory_format=layout)
    parts = [part for rows in whole.split(50, 2) for part in rows.split(70, 3)]

    pooled = pool(
        [
            Moments(pixels=part[0, 0].numel(), mean=mean, variance=variance)
            for part in parts
            for variance, mean in [kernel(part, GROUPS)]
        ]
    )

    variance, mean = torch.var_mean(
        whole.double().unflatten(1, (GROUPS, -1)), dim=(2, 3, 4), correction=0
    )
    torch.testing.assert_close(pooled.mean.double(), mean, rtol=2e-6, atol=0)
    torch.testing.assert_close(pooled.variance.double(), variance, rtol=1e-5, atol=0)


def test_a_tensor_rests_only_where_the_next_layer_needs_its_statistics():
    norm = Norm(norm=nn.GroupNorm(2, 4))
    local = Local(module=nn.Identity())

    stages = fuse([local, local, Push(), norm, local, norm, local, Add(), Whole(module=abs)])

    assert stages[0] == Segment(layers=(local, local), measure=2)
    assert stages[1] == Push()
    assert stages[2] == Segment(norm=norm, layers=(local,), measure=2)
    assert stages[3] == Segment(norm=norm, layers=(local,), add=Add())
    assert len(stages) == 5


@torch.inference_mode()
def test_a_norm_may_come_first_or_after_a_whole():
    norm = nn.GroupNorm(2, 4)
    picture = noise(1, 4, 12, 12)

    found = run([Norm(norm=norm), Whole(module=torch.sin), Norm(norm=norm)], picture, floor(5))

    assert relative(found, norm(torch.sin(norm(picture)))) < 1e-5
