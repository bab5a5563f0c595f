"""What runs models here."""

import os
import subprocess
import sys

import pytest

from workers import devices
from workers.devices import Device, DevicesUnknown


def test_a_host_has_at_least_one_device_with_memory() -> None:
    found = devices.of_host()

    assert found
    assert all(each.memory_bytes > 2**20 for each in found)


def test_asking_for_devices_loads_no_torch_into_the_asking_process() -> None:
    code = (
        "import sys; from workers.devices import of_host; of_host(); "
        "sys.exit('torch' in sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], env=os.environ, check=False)

    assert done.returncode == 0


def test_the_cpu_is_always_there() -> None:
    assert devices.find("cpu").dtype == "float32"


def test_a_device_that_is_not_here_is_refused_with_those_that_are() -> None:
    with pytest.raises(DevicesUnknown, match=r"'cuda:99' is not here; this host has .*cpu"):
        devices.find("cuda:99")


@pytest.mark.parametrize(("name", "dtype"), [("cuda:1", "bfloat16"), ("mps", "float16")])
def test_an_accelerator_computes_in_half_the_bits(name: str, dtype: str) -> None:
    assert Device(id=name, name="", memory_bytes=1).dtype == dtype
