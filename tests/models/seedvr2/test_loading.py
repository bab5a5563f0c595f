import socket
from pathlib import Path

import numpy as np
import pytest
import torch

from models.checkpoint.manifest import LocalWeights, look
from models.checkpoint.strict import onto
from models.errors import WeightsError
from models.seedvr2.loading import load_dit, load_restorer, load_vae
from models.seedvr2.options import SeedVr2Options
from models.seedvr2.pipeline import SeedVr2Upscaler
from models.seedvr2.schema import SeedVr2Request, Variant
from models.seedvr2.weights import MANIFEST
from tests.checkpoints import small_tensors, write_seedvr2, write_tensors
from tests.models.contexts import make_context
from tests.pictures import make_picture

CPU = torch.device("cpu")
PLACE = onto(CPU, torch.float32)


def written(folder: Path, variant: str) -> LocalWeights:
    """Write a small checkpoint, and find it as a worker does."""
    files = look(MANIFEST.variant(variant).parts, write_seedvr2(folder, variant=variant))
    return LocalWeights(variant=variant, files=files)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_: object) -> None:
        message = "loading needs no network"
        raise AssertionError(message)

    monkeypatch.setattr(socket, "socket", refuse)


@pytest.mark.parametrize("variant", list(Variant))
def test_the_published_layout_loads_and_enlarges(tmp_path, variant):
    restorer = load_restorer(written(tmp_path, variant.value), device=CPU, dtype=torch.bfloat16)

    result = SeedVr2Upscaler(restorer).upscale(
        make_picture(24, 16), SeedVr2Request(image_url="picture.png"), make_context()
    )

    assert result.images[0].shape == (32, 48, 3)
    assert {each.dtype for each in restorer.dit.parameters()} == {torch.bfloat16}
    assert {each.dtype for each in restorer.vae.parameters()} == {torch.bfloat16}


def test_the_pipeline_loads_what_the_engine_hands_it(tmp_path):
    upscaler = SeedVr2Upscaler.load(
        written(tmp_path, "3b"), options=SeedVr2Options(), device="cpu", dtype="float32"
    )

    assert upscaler.restorer.prompt.shape == (58, 5120)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float8_e4m3fn], ids=str)
def test_conversions_of_reduced_precision_load(tmp_path, dtype):
    tensors = small_tensors("seedvr2_ema_3b")
    reduced = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    path = write_tensors(tmp_path / "dit.safetensors", reduced)

    dit = load_dit(path, Variant.B3, PLACE)

    torch.testing.assert_close(dit.txt_in.weight, reduced["txt_in.weight"].float())


def test_stored_rotary_frequencies_mean_nothing(tmp_path):
    tensors = small_tensors("seedvr2_ema_3b")
    spoilt = {name: tensor * 9 if "rope" in name else tensor for name, tensor in tensors.items()}
    cells, text, last = torch.randn(8, 8, 33), torch.randn(5, 5120), torch.tensor([1000.0])

    plain, other = (
        load_dit(write_tensors(tmp_path / f"{len(name)}.pth", each), Variant.B3, PLACE)
        for name, each in (("a", tensors), ("bc", spoilt))
    )

    assert torch.equal(plain(cells, text, last), other(cells, text, last))


def test_both_spellings_of_the_autoencoders_attention_load(tmp_path):
    tensors = small_tensors("ema_vae")
    old = {
        name.replace(".to_q.", ".query.")
        .replace(".to_k.", ".key.")
        .replace(".to_v.", ".value.")
        .replace(".to_out.0.", ".proj_attn."): tensor
        for name, tensor in tensors.items()
    }
    assert old.keys() != tensors.keys()

    first = load_vae(write_tensors(tmp_path / "new.pth", tensors), PLACE)
    second = load_vae(write_tensors(tmp_path / "old.pth", old), PLACE)

    assert all(map(torch.equal, first.parameters(), second.parameters()))


def test_a_file_of_the_other_flavour_under_the_right_name_is_refused(tmp_path):
    path = write_tensors(tmp_path / "seedvr2_ema_7b.pth", small_tensors("seedvr2_ema_3b"))

    with pytest.raises(WeightsError, match=r"seedvr2_ema_7b\.pth is called 7b, .* of the 3b"):
        load_dit(path, Variant.B7, PLACE)


def test_the_autoencoder_in_place_of_the_transformer_is_refused(tmp_path):
    path = write_tensors(tmp_path / "seedvr2_ema_3b.pth", small_tensors("ema_vae"))

    with pytest.raises(WeightsError, match="no SeedVR2 transformer"):
        load_dit(path, Variant.B3, PLACE)


def test_missing_unknown_and_misshapen_tensors_are_named(tmp_path):
    tensors = small_tensors("ema_vae")
    del tensors["decoder.conv_out.bias"]
    tensors["decoder.extra"] = torch.zeros(1)
    tensors["encoder.conv_out.weight"] = tensors["encoder.conv_out.weight"].sum(2)  # folded already
    path = write_tensors(tmp_path / "ema_vae.pth", tensors)

    with pytest.raises(WeightsError) as refused:
        load_vae(path, PLACE)

    for name in ("decoder.conv_out.bias", "decoder.extra", "encoder.conv_out.weight"):
        assert name in str(refused.value)


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    tensors = small_tensors("seedvr2_ema_7b")
    tensors["blocks.1.mlp.vid.proj_in.weight"][3, 4] = np.nan
    path = write_tensors(tmp_path / "seedvr2_ema_7b.pth", tensors)

    with pytest.raises(WeightsError, match=r"blocks\.1\.mlp\.vid\.proj_in\.weight holds NaN"):
        load_dit(path, Variant.B7, PLACE)


def test_the_autoencoder_works_with_the_channels_last(tmp_path):
    vae = load_vae(write_tensors(tmp_path / "ema_vae.pth", small_tensors("ema_vae")), PLACE)
    pixels = torch.rand(1, 3, 32, 48) * 2 - 1

    moments = vae.encode(pixels)

    kernels = [each for each in vae.parameters() if each.ndim == 4]
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in kernels)
    plain = vae.to(memory_format=torch.contiguous_format).encode(pixels)
    torch.testing.assert_close(moments, plain, atol=1e-5, rtol=1e-4)
