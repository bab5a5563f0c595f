from pathlib import Path

import pytest
import torch

from models.canvas import pad_to_multiple
from models.diffusion.noise import RecordedNoise, SeededNoise
from models.errors import Cancelled
from models.seedvr2.config import DIT_3B, DIT_7B, VAE
from models.seedvr2.dit import Dit
from models.seedvr2.prompt import read_prompt
from models.seedvr2.restorer import Restorer
from models.seedvr2.vae import Vae
from tests.goldens.case import Case
from tests.goldens.seedvr2.pipeline import build_restorer
from tests.models.seedvr2.tiny import (
    TINY_3B,
    TINY_7B,
    make_restorer,
    make_vae,
    relative_error,
)

PIPELINE = Path(__file__).parents[2] / "data" / "seedvr2" / "pipeline_7b.safetensors"

both = pytest.mark.parametrize("config", [TINY_3B, TINY_7B], ids=["3b", "7b"])


def restore(restorer: Restorer, pixels: torch.Tensor, *, tile: int = 1024, seed: int = 0):
    noise = SeededNoise(torch.Generator().manual_seed(seed))
    condition = restorer.encode(pixels, noise, tile=tile)
    latent = restorer.denoise(condition, noise, timestep=100.0)
    return restorer.decode(latent, tile=tile)


def make_pixels(height: int, width: int) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(1, 3, height, width) * 2 - 1


@both
@pytest.mark.parametrize("tile", [16, 64, 100])
@torch.inference_mode()
def test_tiles_do_not_show(config, tile):
    restorer, pixels = make_restorer(config), make_pixels(176, 240)

    tiled = restore(restorer, pixels, tile=tile)

    torch.testing.assert_close(tiled, restore(restorer, pixels), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_tiled_autoencoder_is_the_plain_one():
    restorer, vae, pixels = make_restorer(TINY_3B), make_vae(), make_pixels(64, 48)
    noise = torch.zeros(1, 16, 1, 8, 6)

    class Silence:
        def draw(self, *shape: int) -> torch.Tensor:
            return noise.reshape(shape)

    latent = restorer.encode(pixels, Silence(), tile=32)

    mean = vae.encode(pixels)[:, :16]
    torch.testing.assert_close(latent.permute(2, 0, 1)[None] / 0.9152, mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        restorer.decode(latent, tile=32), vae.decode(mean), atol=1e-5, rtol=1e-5
    )


@both
@torch.inference_mode()
def test_half_precision_stays_close_to_float32(config):
    full, pixels = make_restorer(config), make_pixels(96, 128)
    half = make_restorer(config, torch.bfloat16)

    restored = restore(half, pixels)

    assert restored.dtype == torch.float32
    # 8 bits in some eighty layers; a tenth is what upstream's own autocast is off by, too.
    assert relative_error(restored, restore(full, pixels)) < 0.1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@both
@torch.inference_mode()
def test_a_real_device_makes_the_same_of_the_same_noise(config):
    restorer, pixels = make_restorer(config), make_pixels(96, 128)
    expected = restore(restorer, pixels)
    there = Restorer(
        vae=restorer.vae.cuda(), dit=restorer.dit.cuda(), prompt=restorer.prompt.cuda()
    )

    restored = restore(there, pixels.cuda())

    assert relative_error(restored.cpu(), expected) < 1e-3  # TF32 may round inside of convolutions


@both
@torch.inference_mode()
def test_the_seed_decides(config):
    restorer, pixels = make_restorer(config), make_pixels(32, 48)

    assert torch.equal(restore(restorer, pixels, seed=3), restore(restorer, pixels, seed=3))
    assert not torch.equal(restore(restorer, pixels, seed=3), restore(restorer, pixels, seed=4))


@pytest.mark.parametrize("size", [(16, 16), (16, 800), (800, 16)], ids=str)
@torch.inference_mode()
def test_the_smallest_and_the_longest_pictures_pass(size):
    pixels = make_pixels(*size)

    assert restore(make_restorer(TINY_3B), pixels).shape == pixels.shape


@torch.inference_mode()
def test_it_can_be_stopped_between_tiles():
    def stop() -> None:
        raise Cancelled

    restorer, noise = make_restorer(TINY_7B), SeededNoise(torch.Generator())

    with pytest.raises(Cancelled):
        restorer.encode(make_pixels(32, 32), noise, tile=16, tick=stop)
    with pytest.raises(Cancelled):
        restorer.decode(torch.zeros(4, 4, 16), tile=16, tick=stop)


@pytest.mark.parametrize("config", [DIT_3B, DIT_7B], ids=["3b", "7b"])
@torch.inference_mode()
def test_a_picture_of_8_megapixels_passes_at_real_sizes(config):
    """On the meta device, where a stage that mixes devices, dtypes or shapes would raise."""
    with torch.device("meta"):
        vae, dit = Vae(VAE).to(torch.bfloat16), Dit(config).to(torch.bfloat16)
    restorer = Restorer(vae=vae, dit=dit, prompt=read_prompt().to("meta"))

    # In one tile: on the way between several, statistics are numbers, which are not on this device.
    restored = restore(restorer, torch.empty(1, 3, 2160, 3840, device="meta"), tile=4096)

    assert (restored.shape, restored.dtype) == ((1, 3, 2160, 3840), torch.float32)


@torch.inference_mode()
def test_half_precision_stays_close_to_upstreams_float32():
    case = Case.read(PIPELINE)
    full = build_restorer(case)
    half = Restorer(
        vae=full.vae.to(torch.bfloat16),
        dit=full.dit.to(torch.bfloat16),
        prompt=full.prompt.to(torch.bfloat16),
    )
    noise = RecordedNoise(case.inputs[f"{name}noise"] for name in ("posterior_", "", "aug_"))

    condition = half.encode(case.intermediate["transformed"][:, 0][None], noise, tile=1024)
    timestep = case.intermediate["cond_t"].item()
    latent = half.denoise(condition, noise, timestep=timestep)
    decoded = half.decode(latent, tile=1024)

    # bfloat16 has 8 bits. Seen: 1.6, 0.9 and 1.7 per cent.
    assert relative_error(condition[None], case.intermediate["cond_latent"]) < 0.03
    assert relative_error(latent[None], case.intermediate["x0_latent"]) < 0.05
    assert relative_error(decoded, case.intermediate["decoded"]) < 0.05


def test_padding_repeats_the_right_and_the_bottom_border():
    picture = torch.arange(6.0).view(1, 1, 2, 3)

    padded = pad_to_multiple(picture, 4)

    assert padded[0, 0].tolist() == [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]]
    assert torch.equal(pad_to_multiple(padded, 4), padded)
