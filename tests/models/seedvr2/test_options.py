"""What an operator may choose: blocks on the host, weights in 8 bits."""

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from models.checkpoint.manifest import LocalWeights, look
from models.checkpoint.strict import onto
from models.eight_bit import EightBitLinear, keep_fp8, to_int8
from models.errors import WeightsError
from models.seedvr2.loading import load_dit
from models.seedvr2.options import SeedVr2Options
from models.seedvr2.pipeline import SeedVr2Upscaler
from models.seedvr2.schema import SeedVr2Request, Variant
from models.seedvr2.weights import MANIFEST
from tests.checkpoints import small_tensors, write_seedvr2, write_tensors
from tests.models.contexts import make_context
from tests.models.seedvr2.tiny import relative_error
from tests.pictures import make_picture

HALF = onto("cpu", torch.bfloat16)


def load(folder, **chosen) -> SeedVr2Upscaler:
    files = look(MANIFEST.variant("3b").parts, write_seedvr2(folder, variant="3b"))
    return SeedVr2Upscaler.load(
        LocalWeights(variant="3b", files=files),
        options=SeedVr2Options(**chosen),
        device="cpu",
        dtype="bfloat16",
    )


def pixels(upscaler: SeedVr2Upscaler):
    request = SeedVr2Request(image_url="picture.png")
    return upscaler.upscale(make_picture(40, 24), request, make_context()).images[0]


def velocity(dit) -> Tensor:
    """Return what a transformer predicts for the same cells and text every time."""
    torch.manual_seed(0)
    cells, text = torch.randn(16, 24, 33).bfloat16(), torch.randn(5, 5120).bfloat16()
    with torch.inference_mode():
        return dit(cells, text, torch.tensor([1000.0]))


@pytest.mark.parametrize("weights", ["wide", "int8"])
def test_blocks_on_the_host_give_the_same_bytes(tmp_path, weights):
    resident = pixels(load(tmp_path, weights=weights))
    upscaler = load(tmp_path, weights=weights, offload="blocks")

    assert (pixels(upscaler) == resident).all()
    assert (pixels(upscaler) == resident).all(), "and once more, with the first block there already"


def test_int8_weights_are_within_four_percent_of_bfloat16(tmp_path):
    path = write_tensors(tmp_path / "dit.pth", small_tensors("seedvr2_ema_3b"))
    wide, narrow = (load_dit(path, Variant.B3, HALF, narrow=each) for each in (None, to_int8))

    error = relative_error(velocity(narrow), velocity(wide).float())

    assert error < 0.04
    assert {each.weight.dtype for each in eight_bit(narrow)} == {torch.int8}


def test_a_published_fp8_file_gives_the_same_narrow_or_wide(tmp_path):
    reduced = {
        name: tensor.to(torch.float8_e4m3fn)
        for name, tensor in small_tensors("seedvr2_ema_3b").items()
    }
    path = write_tensors(tmp_path / "dit.safetensors", reduced)
    wide, narrow = (load_dit(path, Variant.B3, HALF, narrow=each) for each in (None, keep_fp8))

    torch.testing.assert_close(velocity(narrow), velocity(wide), rtol=0, atol=0)
    assert {each.weight.dtype for each in eight_bit(narrow)} == {torch.float8_e4m3fn}


def test_a_wide_tensor_of_a_mixed_file_stays_wide(tmp_path):
    mixed = {
        name: tensor.to(torch.float16 if name.startswith("blocks.1.") else torch.float8_e4m3fn)
        for name, tensor in small_tensors("seedvr2_ema_3b").items()
    }
    path = write_tensors(tmp_path / "dit.safetensors", mixed)

    dit = load_dit(path, Variant.B3, HALF, narrow=keep_fp8)

    assert eight_bit(dit.blocks[0])
    assert not eight_bit(dit.blocks[1])


def test_a_file_without_fp8_is_refused_where_fp8_is_asked_for(tmp_path):
    with pytest.raises(WeightsError, match="holds no weights in fp8"):
        load(tmp_path, weights="fp8")


def test_int8_is_exact_for_what_it_can_hold():
    weight = torch.tensor([[127.0, -127.0, 3.0], [0.0, 0.0, 0.0]]) / 64

    narrow, scale = to_int8(weight)

    torch.testing.assert_close(narrow.float() * scale[:, None], weight, rtol=0, atol=0)


def test_other_choices_are_refused_by_name():
    with pytest.raises(ValidationError, match="offload"):
        SeedVr2Options(offload="disk")


def eight_bit(network) -> list[EightBitLinear]:
    return [each for each in network.modules() if isinstance(each, EightBitLinear)]


@pytest.mark.parametrize("broken", [torch.nan, torch.inf])
def test_weights_that_are_no_numbers_are_not_rounded_away(tmp_path, broken):
    tensors = small_tensors("seedvr2_ema_3b")
    name = "blocks.1.mlp.vid.proj_in.weight"
    tensors[name][2, 3] = broken
    write_seedvr2(tmp_path)
    write_tensors(tmp_path / "seedvr2_ema_3b.pth", tensors)
    files = look(MANIFEST.variant("3b").parts, tmp_path)

    with pytest.raises(WeightsError, match=f"{name} holds NaN or infinity"):
        SeedVr2Upscaler.load(
            LocalWeights(variant="3b", files=files),
            options=SeedVr2Options(weights="int8"),
            device="cpu",
            dtype="bfloat16",
        )
