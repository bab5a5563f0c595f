import pytest
import torch
from safetensors.torch import save

from models.compact import network
from models.compact.network import CompactNetwork, bicubic_cells, parse
from models.compact.training.branches import BranchedNetwork
from models.errors import WeightsError


@pytest.mark.parametrize("scale", [2, 4])
@torch.inference_mode()
def test_folding_the_branches_changes_nothing(scale):
    torch.manual_seed(1)
    branched = BranchedNetwork(scale)
    pixels = torch.rand(2, 3, 19, 23)

    folded = branched.fold()(pixels)

    torch.testing.assert_close(folded, branched(pixels), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scale", [2, 4])
@torch.inference_mode()
def test_the_skip_alone_is_bicubic_interpolation(scale):
    plain = CompactNetwork(scale)
    for parameter in plain.parameters():
        parameter.zero_()
    plain.skip.weight.copy_(bicubic_cells(scale))
    columns = torch.linspace(0, 1, 16).expand(1, 3, 16, 16)

    enlarged = plain(columns)

    # A linear ramp comes out as the finer ramp, away from the border.
    inner = enlarged[0, 0, 8 * scale, 2 * scale : -2 * scale]
    places = (torch.arange(16 * scale) + 0.5) / scale - 0.5
    torch.testing.assert_close(inner, places[2 * scale : -2 * scale] / 15, atol=1e-6, rtol=0)


@torch.inference_mode()
def test_a_pixel_sees_its_radius_and_no_further():
    torch.manual_seed(2)
    net = BranchedNetwork(2).fold()
    pixels = torch.rand(1, 3, 41, 41)
    changed = pixels.clone()
    changed[..., 20, 20] += 1

    moved = (net(changed) - net(pixels)).abs().amax(dim=(0, 1)) > 0

    rows = moved.any(dim=1).nonzero().flatten() // 2
    assert (int(rows.min()), int(rows.max())) == (20 - net.radius, 20 + net.radius)


@pytest.mark.parametrize("variant", ["clean", "photo"])
@pytest.mark.parametrize("scale", [2, 4])
def test_the_package_has_weights_for_every_variant_and_scale(variant, scale):
    net = network.read(variant, scale)

    assert net(torch.rand(1, 3, 5, 7)).shape == (1, 3, 5 * scale, 7 * scale)


def test_the_weights_take_no_more_than_two_megabytes():
    assert sum(path.stat().st_size for path in network.folder().iterdir()) <= 2e6


@pytest.mark.parametrize(
    "data", [b"", b"no weights", save({"head.weight": torch.zeros(1)})], ids=["0", "text", "others"]
)
def test_damaged_weights_are_an_error_that_says_so(data):
    with pytest.raises(WeightsError, match="damaged"):
        parse(data, 2)
