"""A device that is too small for SeedVR2's tiles; only its lack of memory is pretended."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from models.catalog import ENDPOINTS
from models.errors import OutOfDeviceMemory
from models.seedvr2.schema import SeedVr2Request
from models.upscaler import Upscaler
from tests.checkpoints import write_seedvr2
from tests.models.contexts import make_context
from tests.pictures import make_picture
from workers.devices import Device
from workers.residency import Residency
from workers.stock import Stock

CPU = Device(id="cpu", name="test", memory_bytes=2**40)
PIPELINE = "fal-ai/seedvr/upscale/image#3b"
REQUEST = SeedVr2Request(image_url="picture.png", upscale_factor=8, tile_size=256)


@pytest.fixture
def residency(tmp_path: Path) -> Residency:
    write_seedvr2(tmp_path / "seedvr", variant="3b")
    return Residency(Stock(endpoints=ENDPOINTS, folder=tmp_path), CPU, budget_bytes=2**40)


def limit_tiles(residency: Residency, side: int) -> None:
    """Have every convolution run out of memory on pictures with a longer side."""
    with residency.resident(PIPELINE) as upscaler:
        modules = list(upscaler.restorer.vae.modules())

    def check(_module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if max(inputs[0].shape[-2:]) > side:
            raise torch.OutOfMemoryError

    for module in modules:
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(check)


def enlarge(upscaler: Upscaler, divisor: int):
    context = replace(make_context(), tile_divisor=divisor)
    return upscaler.upscale(make_picture(32, 30), REQUEST, context).images[0]


def test_tiles_are_halved_until_they_fit_and_the_picture_is_the_same(residency):
    expected, _ = residency.enlarge(PIPELINE, enlarge)
    limit_tiles(residency, 80)

    found, divisor = residency.enlarge(PIPELINE, enlarge)

    assert divisor == 4
    assert abs(found.astype(int) - expected).max() <= 1


def test_a_device_without_room_for_the_smallest_tile_says_what_helps(residency):
    limit_tiles(residency, 8)

    with pytest.raises(OutOfDeviceMemory, match="make it smaller, or use a device with more"):
        residency.enlarge(PIPELINE, enlarge)
