import re

import pytest
import torch

from models.errors import WeightsError
from models.esrgan.loading import NAMES, load_network, read_sizes
from models.esrgan.network import RrdbNet, Sizes
from tests.checkpoints import write_tensors
from tests.models.esrgan.small import NAMINGS, published_shapes, small_tensors


@pytest.mark.parametrize("naming", NAMINGS)
def test_names_and_shapes_of_the_published_network_are_complete(naming, tmp_path):
    named = {NAMES(name): shape for name, shape in published_shapes(naming).items()}
    sizes = read_sizes(named, tmp_path)
    with torch.device("meta"):
        network = RrdbNet(sizes)

    assert sizes == Sizes(features=64, growth=32, blocks=23, shrink=1)
    assert {name: tuple(each.shape) for name, each in network.state_dict().items()} == named


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("naming", NAMINGS)
def test_every_naming_and_format_loads(naming, suffix, tmp_path):
    path = write_tensors(tmp_path / f"network{suffix}", small_tensors(naming))

    network = load_network(path, device="cpu", dtype=torch.bfloat16)

    assert {each.dtype for each in network.parameters()} == {torch.bfloat16}
    made = network(torch.rand(1, 3, 5, 7).bfloat16())
    assert made.shape == (1, 3, 20, 28)


def test_the_wrapped_dict_of_real_esrgan_loads(tmp_path):
    path = tmp_path / "wrapped.pth"
    torch.save({"params_ema": small_tensors("realesrgan")}, path)

    assert load_network(path, device="cpu", dtype=torch.float32).scale == 4


@pytest.mark.parametrize(("inputs", "scale"), [(12, 2), (48, 1)])
def test_networks_that_fold_pixels_first_enlarge_by_less(inputs, scale, tmp_path):
    path = write_tensors(tmp_path / "network.pth", small_tensors("realesrgan", inputs=inputs))

    network = load_network(path, device="cpu", dtype=torch.float32)

    assert network.scale == scale
    assert network(torch.rand(1, 3, 8, 12)).shape == (1, 3, 8 * scale, 12 * scale)


def test_another_architecture_is_refused_by_name(tmp_path):
    path = write_tensors(tmp_path / "span.pth", {"conv_1.weight": torch.zeros(1)})

    with pytest.raises(WeightsError, match=re.escape(f"{path} holds no RRDBNet")):
        load_network(path, device="cpu", dtype=torch.float32)


def test_a_missing_tensor_is_named(tmp_path):
    tensors = small_tensors("old")
    del tensors["model.10.bias"]
    path = write_tensors(tmp_path / "network.pth", tensors)

    with pytest.raises(WeightsError, match=r"1 missing: conv_last\.bias"):
        load_network(path, device="cpu", dtype=torch.float32)
